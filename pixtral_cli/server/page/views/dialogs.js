// Which dialog is open, and the frame they share: a native modal dialog that Escape closes.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { html, Icon } from "../dom.js";

export const dialog = signal(null); // null, "settings", "shortcuts", or a picture {url, name}

export const openDialog = (which) => (dialog.value = which);
export const closeDialog = () => (dialog.value = null);

/** A dialog with a heading and a button that closes it. */
export function Dialog({ id, title, children }) {
  const place = useRef(null);
  useEffect(() => place.current.showModal(), []);
  const outside = ({ target }) => target === place.current && place.current.close();
  return html`<dialog id=${id} class="panel" ref=${place} aria-labelledby=${`${id}-title`} onClose=${closeDialog} onClick=${outside}>
    <header>
      <h2 id=${`${id}-title`}>${title}</h2>
      <button type="button" class="quiet icon" aria-label="Close" onClick=${() => place.current.close()}><${Icon} name="close" /></button>
    </header>
    <div class="content" tabindex="0">${children}</div>
  </dialog>`;
}

/** A picture as large as the window. */
export function Zoom({ picture }) {
  const place = useRef(null);
  useEffect(() => place.current.showModal(), []);
  return html`<dialog id="zoom" ref=${place} aria-label="Picture" onClose=${closeDialog} onClick=${() => place.current.close()}>
    <form method="dialog"><button aria-label="Close the picture"><img id="zoomed" src=${picture.url} alt=${picture.name} /></button></form>
  </dialog>`;
}
