// The composer: the question, its pictures, and what sends it.

import { useEffect, useRef } from "preact/hooks";
import { ask, isRunning, stop } from "../chat/answers.js";
import { current, ready } from "../chat/conversations.js";
import * as draft from "../chat/draft.js";
import { html, Icon, number } from "../dom.js";
import { say, Status } from "./status.js";
import { DownButton, toTheEnd } from "./talk.js";

const onPhone = () => matchMedia("(pointer: coarse) and (hover: none)").matches;
const ACCEPTED = "image/*,.pdf,.heic,.heif,.avif,.tif,.tiff,.bmp";

/** Send what is written, as soon as all pictures are read. */
export async function submit() {
  await ready;
  const leaf = current.value.leaf.value;
  if (draft.isEmpty()) return;
  if (leaf && isRunning(leaf) && !draft.editing.value) {
    say("The answer is still being written. Escape stops it; the question stays here.");
    return;
  }
  if (draft.reading.value) {
    draft.waiting.value = true;
    return;
  }
  draft.waiting.value = false;
  const { text, pictures, editing } = draft.take();
  const conversation = current.value;
  say("");
  toTheEnd();
  const asked = ask(text, pictures, editing);
  if (location.hash !== `#/c/${conversation.id}`) history.replaceState(null, "", `#/c/${conversation.id}`);
  await asked;
}

export function Composer() {
  const leaf = current.value.leaf.value;
  const writing = Boolean(leaf && isRunning(leaf));
  useEffect(() => {
    if (draft.waiting.value && !draft.reading.value) submit();
  }, [draft.waiting.value, draft.reading.value]);
  return html`<form id="composer" aria-label="Your question" onSubmit=${(event) => (event.preventDefault(), submit())}>
    <${DownButton} />
    <${Wrong} />
    <p id="editing" hidden=${!draft.editing.value}>
      Editing an earlier question: the answers it had are kept as a version
      <button id="cancel-edit" class="quiet" type="button" onClick=${draft.cancelEdit}>Cancel</button>
    </p>
    <${Staged} />
    <${Waiting} />
    <div class="row">
      <label class="button quiet icon" for="files" title="Add pictures"><${Icon} name="picture" /><span class="visually-hidden">Add pictures</span></label>
      <input id="files" class="visually-hidden" type="file" accept=${ACCEPTED} multiple onChange=${picked} />
      <label class="visually-hidden" for="question">Question</label>
      <${Question} />
      <button id="send" class="icon" type="submit" aria-label="Send" title="Send (Enter)" hidden=${writing}><${Icon} name="up" /></button>
      <button id="stop" class="icon" type="button" aria-label="Stop" title="Stop (Escape)" hidden=${!writing} onClick=${() => stop(leaf)}>
        <svg viewBox="0 0 16 16" aria-hidden="true"><rect class="full" x="4" y="4" width="8" height="8" rx="1" /></svg>
      </button>
    </div>
    <${Status} />
  </form>`;
}

function Question() {
  const area = useRef(null);
  const text = draft.text.value;
  useEffect(() => {
    area.current.style.height = "auto";
    area.current.style.height = `${area.current.scrollHeight}px`;
  }, [text]);
  const typed = ({ target }) => {
    draft.text.value = target.value;
    draft.changed();
  };
  const key = (event) => {
    const sends = event.ctrlKey || event.metaKey || (!event.shiftKey && !event.altKey && !onPhone());
    if (event.key !== "Enter" || !sends || event.isComposing) return;
    event.preventDefault();
    submit();
  };
  return html`<textarea id="question" ref=${area} rows="1" placeholder="Ask anything" autofocus value=${text} onInput=${typed} onKeyDown=${key} enterkeyhint=${onPhone() ? "enter" : "send"}></textarea>`;
}

function picked({ target }) {
  add([...target.files]);
  target.value = "";
}

function add(files) {
  draft.add(files);
  document.getElementById("question").focus();
}

function Waiting() {
  if (!draft.waiting.value) return null;
  const count = draft.reading.value;
  return html`<p id="waiting">
    Sent as soon as ${count === 1 ? "one more picture is" : `${count} more pictures are`} read
    <button type="button" class="quiet" onClick=${() => (draft.waiting.value = false)}>Wait with it</button>
  </p>`;
}

function Wrong() {
  const all = draft.wrong.value;
  const dismiss = (id) => (draft.wrong.value = all.filter((one) => one.id !== id));
  const one = ({ id, message }) => html`<li key=${id}><span>${message}</span><button type="button" class="quiet" aria-label="Dismiss" onClick=${() => dismiss(id)}>✕</button></li>`;
  return html`<div aria-live="assertive">${all.length > 0 && html`<ul id="wrong" aria-label="What is wrong with files">${all.map(one)}</ul>`}</div>`;
}

function Staged() {
  const all = draft.pictures.value;
  return html`<ul id="staged" aria-label="Pictures to send">${all.map((one) => html`<${Picture} key=${one.id} picture=${one} />`)}</ul>`;
}

function Picture({ picture }) {
  const { id, name, url, tokens, width, height, reading } = picture;
  const remove = () => {
    draft.remove(id);
    document.getElementById("question").focus();
  };
  const cost = reading ? "reading…" : Number.isFinite(tokens) ? `${number(tokens)} tokens` : "";
  return html`<li title=${width ? `${name}: seen at ${width} × ${height}` : name}>
    ${url && picture.shown !== false ? html`<img src=${url} alt=${name} />` : html`<span class="file"><${Icon} name="file" />${name}</span>`}
    <span>${cost}</span>
    <button type="button" aria-label=${`Remove ${name}`} onClick=${remove}>✕</button>
  </li>`;
}

/** Pictures in the clipboard are added; a text beside them is kept. */
export function pasted(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  const text = event.clipboardData.getData("text/plain");
  const names = new Set(files.map(({ name }) => name));
  const isPath = text.split("\n").every((line) => /^(file:\/\/|\/|[A-Z]:\\)/.test(line) || names.has(line.trim()));
  event.preventDefault();
  if (text.trim() && !isPath) insert(text, event.target);
  draft.add(files);
}

function insert(text, target) {
  const area = document.getElementById("question");
  if (target !== area && /^(input|textarea)$/.test(target?.localName)) return;
  area.focus();
  area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
  draft.text.value = area.value;
  draft.changed();
}
