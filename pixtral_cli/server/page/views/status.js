// What the page says: the line beneath the question, the notice that lasts, and the undoing of deletions.

import { signal } from "@preact/signals";
import * as conversations from "../chat/conversations.js";
import { exportAll } from "../chat/transfer.js";
import { html } from "../dom.js";

export const status = signal("");
const undoable = signal([]); // identifiers of the conversations deleted of late, the last at the end

export const say = (text) => (status.value = text);

/** Offer to bring a deleted conversation back. */
export function offerUndo(id, title) {
  undoable.value = [...undoable.value, id];
  say(`Deleted “${title || "Untitled"}”.`);
}

async function undo() {
  const id = undoable.value.at(-1);
  undoable.value = undoable.value.slice(0, -1);
  await conversations.setDeleted(id, false);
  location.hash = `#/c/${id}`;
  say(undoable.value.length ? `${undoable.value.length} more can be brought back.` : "");
}

export function Status() {
  const count = undoable.value.length;
  return html`<div class="beneath">
    <p id="status" role="status" aria-live="polite">${status.value}</p>
    <button id="undo" class="quiet" type="button" hidden=${!count} onClick=${undo}>${count > 1 ? `Undo (${count})` : "Undo"}</button>
  </div>`;
}

/** That conversations are not kept, until they are. */
export function Trouble() {
  const why = conversations.trouble.value;
  if (!why) return null;
  const save = () => exportAll(conversations.listed.value.map(({ id }) => id));
  return html`<div id="trouble" role="alert">
    <p>${why}</p>
    <button type="button" class="outlined" onClick=${save}>Export conversations</button>
  </div>`;
}

addEventListener("beforeunload", (event) => {
  if (conversations.trouble.peek() && conversations.heldConversations().some(({ unsaved }) => unsaved.size)) event.preventDefault();
});
