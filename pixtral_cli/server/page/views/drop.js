// Files dragged over the page, and dropped on it.

import { signal } from "@preact/signals";
import * as draft from "../chat/draft.js";

export const dragged = signal(false);

export function dragging(event) {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  dragged.value = !(event.type === "dragleave" && event.relatedTarget === null);
}

export function dropped(event) {
  dragged.value = false;
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  draft.add(event.dataTransfer.files);
  document.getElementById("question").focus();
}
