// The list of conversations: search, rename, delete, and which of them are being answered.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { running, stopAll } from "../chat/answers.js";
import * as conversations from "../chat/conversations.js";
import * as store from "../chat/store.js";
import { html, Icon } from "../dom.js";
import { openDialog } from "./dialogs.js";
import { offerUndo } from "./status.js";

export const shown = signal(false); // on a narrow screen the list lies over the conversation
const words = signal("");
const found = signal(null); // identifiers whose messages hold the words

let searching = 0;

function search(value) {
  words.value = value;
  clearTimeout(searching);
  if (!value.trim()) found.value = null;
  else searching = setTimeout(async () => (found.value = await store.search(value.trim()).catch(() => new Set())), 150);
}

function matching() {
  const wanted = words.value.trim().toLowerCase();
  const all = conversations.listed.value;
  return wanted ? all.filter(({ id, title = "" }) => title.toLowerCase().includes(wanted) || found.value?.has(id)) : all;
}

export function toggle(on) {
  shown.value = on;
  if (on) setTimeout(() => document.getElementById("new")?.focus());
}

export function newConversation() {
  toggle(false);
  if (location.hash) location.hash = "";
  else dispatchEvent(new Event("hashchange"));
}

export function Sidebar() {
  const all = matching();
  return html`<nav id="sidebar" class=${shown.value ? "shown" : ""} aria-label="Conversations">
      <button id="new" class="wide outlined" type="button" onClick=${newConversation}><${Icon} name="plus" />New conversation</button>
      <label class="search">
        <span class="visually-hidden">Search conversations</span><${Icon} name="search" />
        <input id="search" type="search" placeholder="Search" value=${words.value} onInput=${({ target }) => search(target.value)} />
      </label>
      <ul id="conversations">${all.map((row) => html`<${Entry} key=${row.id} row=${row} />`)}</ul>
      <p class="hint">${words.value && !all.length ? "Nothing found." : "Conversations stay in this browser."}</p>
      <div class="foot">
        <button type="button" class="quiet" onClick=${() => openDialog("settings")}><${Icon} name="settings" />Settings</button>
        <button type="button" class="quiet icon" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick=${() => openDialog("shortcuts")}><${Icon} name="keyboard" /></button>
      </div>
    </nav>
    <div id="scrim" hidden=${!shown.value} onClick=${() => toggle(false)}></div>`;
}

function Entry({ row }) {
  const [renaming, setRenaming] = useState(false);
  const title = row.title || "Untitled";
  const isCurrent = conversations.current.value.id === row.id;
  const isAnswered = [...running.value.values()].some(({ conversation }) => conversation.id === row.id);
  if (renaming) return html`<li><${Rename} row=${row} done=${() => setRenaming(false)} /></li>`;
  return html`<li class=${isAnswered ? "answering" : ""}>
    <button type="button" class="open" title=${title} aria-current=${isCurrent ? "true" : undefined} onClick=${() => open(row.id)}>${title}</button>
    ${isAnswered && html`<span class="dot" role="img" aria-label="being answered"></span>`}
    <span class="actions">
      <button type="button" class="rename" aria-label=${`Rename ${title}`} title="Rename" onClick=${() => setRenaming(true)}><${Icon} name="pencil" /></button>
      <button type="button" class="delete" aria-label=${`Delete ${title}`} title="Delete" onClick=${() => remove(row)}><${Icon} name="bin" /></button>
    </span>
  </li>`;
}

function Rename({ row, done }) {
  const input = useRef(null);
  useEffect(() => input.current.select(), []);
  const ended = useRef(false); // taking the field away blurs it
  const end = async (keep) => {
    if (ended.current) return;
    ended.current = true;
    const title = input.current.value.trim();
    if (keep && title && title !== row.title) await conversations.rename(row.id, title);
    done();
  };
  const typed = (event) => {
    event.stopPropagation();
    if (event.key === "Enter") end(true);
    if (event.key === "Escape") end(false);
  };
  return html`<input ref=${input} class="renaming" aria-label="New name" value=${row.title} autofocus onKeyDown=${typed} onBlur=${() => end(true)} />`;
}

function open(id) {
  toggle(false);
  location.hash = `#/c/${id}`;
}

async function remove({ id, title }) {
  stopAll(id);
  await conversations.setDeleted(id, true);
  if (conversations.current.value.id === id) newConversation();
  offerUndo(id, title);
}
