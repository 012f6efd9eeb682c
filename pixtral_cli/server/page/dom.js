// Shared by all views: tagged templates, icons, the clipboard, saving files.

import { h } from "preact";
import htm from "htm";

export const html = htm.bind(h);

const PATHS = {
  plus: "M8 3v10M3 8h10",
  menu: "M2 4h12M2 8h12M2 12h12",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  down: "M8 3v10M4 9l4 4 4-4",
  up: "M8 13V3M4 7l4-4 4 4",
  left: "M10 3L5 8l5 5",
  right: "M6 3l5 5-5 5",
  pencil: "M3 13l.6-2.8L10.8 3l2.2 2.2-7.2 7.2zM9.4 4.4l2.2 2.2",
  bin: "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5M6.8 7v3.8M9.2 7v3.8",
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM10.3 10.3l3.4 3.4",
  picture: "M4 2.5h8a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2zM2.5 12l3.7-3.5 2.3 2 2.5-2.8 3 3.3M5.7 5a1 1 0 1 1 0 2 1 1 0 0 1 0-2z",
  settings: "M2 4.5h7M13 4.5h1M2 11.5h1M7 11.5h7M11 2.8a1.7 1.7 0 1 1 0 3.4 1.7 1.7 0 0 1 0-3.4zM5 9.8a1.7 1.7 0 1 1 0 3.4 1.7 1.7 0 0 1 0-3.4z",
  keyboard: "M2.5 4h11a1 1 0 0 1 1 1v6a1 1 0 0 1-1 1h-11a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM4.2 6.6h.1M6.7 6.6h.1M9.2 6.6h.1M11.7 6.6h.1M5 9.5h6",
  theme: "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2z",
  file: "M4 2h5l3 3v9H4zM9 2v3h3",
};

/** An icon, hidden from assistive technology. */
export function Icon({ name }) {
  return html`<svg viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    <path d=${PATHS[name]} />
    ${name === "theme" && html`<path class="full" d="M8 2a6 6 0 0 1 0 12z" />`}
  </svg>`;
}

export const number = (value) => value.toLocaleString("en");

/** A random identifier. `crypto.randomUUID` does not exist on pages served over HTTP by another machine. */
export function freshId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Copy a text; resolves to whether that succeeded. Over plain HTTP only `document.execCommand` exists. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = document.activeElement;
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}

/** Let the browser save `data` as a file. */
export function saveFile(name, data, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([data], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
