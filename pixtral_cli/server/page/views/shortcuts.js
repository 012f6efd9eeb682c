// The keys: one table, from which they act and are listed.

import { goOn, regenerate, stop, isRunning } from "../chat/answers.js";
import { choose, current } from "../chat/conversations.js";
import * as draft from "../chat/draft.js";
import { textOf, versions } from "../chat/tree.js";
import { copyText, html } from "../dom.js";
import { close as closePreview } from "./panel.js";
import { Dialog, dialog, openDialog } from "./dialogs.js";
import * as sidebar from "./sidebar.js";
import { say } from "./status.js";

const question = () => document.getElementById("question");
const lastOf = (role) => {
  const { nodes, path } = current.value;
  return path.value.map((id) => nodes.get(id)).findLast((message) => message.role === role);
};

async function copyLast() {
  const answer = lastOf("assistant");
  if (answer) say((await copyText(textOf(answer))) ? "The answer is copied." : "The browser does not allow copying.");
}

function regenerateLast() {
  const answer = lastOf("assistant");
  if (answer && !isRunning(answer.id)) regenerate(current.value, answer.id);
}

function goOnLast() {
  const answer = lastOf("assistant");
  if (answer && ["interrupted", "stopped", "cut"].includes(answer.state)) goOn(current.value, answer.id);
}

function editLast() {
  const message = lastOf("user");
  if (!message) return;
  draft.edit(message);
  question().focus();
}

function step(by) {
  const answer = lastOf("assistant");
  if (!answer) return;
  const { all, place } = versions(current.value.nodes, answer.id);
  const next = all[place + by];
  if (next) choose(current.value, next.id);
}

function search() {
  sidebar.toggle(true);
  setTimeout(() => document.getElementById("search").focus());
}

/** Each key: how it is shown, what it does, and whether an event is it. */
const KEYS = [
  ["Enter", "Send"],
  ["Shift Enter", "Begin a new line (on phones: Enter)"],
  ["Escape", "Stop the answer, close the preview or a dialog, end an edit"],
  ["Alt N", "New conversation", "KeyN", sidebar.newConversation],
  ["Ctrl K", "Search conversations", null, search, ({ key, ctrlKey, metaKey }) => (ctrlKey || metaKey) && key.toLowerCase() === "k"],
  ["Alt E", "Edit the last question", "KeyE", editLast],
  ["Alt R", "Regenerate the last answer", "KeyR", regenerateLast],
  ["Alt G", "Go on with an answer that broke off", "KeyG", goOnLast],
  ["Alt C", "Copy the last answer", "KeyC", copyLast],
  ["Alt ,  Alt .", "The last answer's earlier and later version", "Comma", () => step(-1)],
  [null, null, "Period", () => step(1)],
  ["Alt S", "Settings", "KeyS", () => openDialog("settings")],
  ["?", "This list", null, () => openDialog("shortcuts"), ({ key, target }) => key === "?" && !/^(input|textarea)$/.test(target.localName)],
  ["/", "To the question", null, () => question().focus(), ({ key, target }) => key === "/" && !/^(input|textarea)$/.test(target.localName)],
];

function escape() {
  const leaf = current.value.leaf.value;
  if (sidebar.shown.value) {
    sidebar.toggle(false);
    document.getElementById("menu").focus();
  } else if (draft.waiting.value) draft.waiting.value = false;
  else if (leaf && isRunning(leaf)) stop(leaf);
  else if (closePreview()) question().focus();
  else if (draft.editing.value) draft.cancelEdit();
}

/** Act on a key that belongs to the page. */
export function pressed(event) {
  if (event.isComposing || event.defaultPrevented || dialog.value) return;
  if (event.key === "Escape") return void escape();
  const alone = event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey;
  const key = KEYS.find(([, , code, , matches]) => (matches ? matches(event) : code && alone && event.code === code));
  if (!key) return;
  event.preventDefault();
  key[3]();
}

export function Shortcuts() {
  const shown = KEYS.filter(([name]) => name);
  return html`<${Dialog} id="shortcuts" title="Keyboard shortcuts">
    <dl class="keys">${shown.map(([name, what]) => html`<div><dt>${keys(name)}</dt><dd>${what}</dd></div>`)}</dl>
  <//>`;
}

const keys = (name) => name.split("  ").map((combination, index) => [index ? " " : "", ...combination.split(" ").map((one) => html`<kbd>${one}</kbd>`)]);
