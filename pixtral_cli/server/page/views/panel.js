// The panel beside the conversation that shows a page the model wrote, in a frame of no origin; its scripts run only when asked for.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { textOf } from "../chat/tree.js";
import { html, Icon, saveFile } from "../dom.js";
import { pages } from "../markdown/blocks.js";

const PAUSE = 400; // milliseconds between two looks at a page that is still being written
const SCRIPTS = /<script|\son\w+\s*=/i;

/** Whether this browser lets the frame keep other frames out of the page. */
const CONFINES = "trustedTypes" in self;

const page = signal(null); // {conversation, id, place}: the page, and which of an answer's it is
const scripts = signal(false);
const run = signal(0); // how often its scripts were asked for

/** Show a page: the answer's `place`th. */
export function open(conversation, id, place) {
  scripts.value = false;
  page.value = { conversation, id, place };
  setTimeout(() => document.getElementById("close-preview")?.focus());
}

/** Take the panel away; whether it was there. */
export function close() {
  const was = page.value !== null;
  page.value = null;
  return was;
}

function closeAndReturn() {
  close();
  document.getElementById("question").focus();
}

export function Preview() {
  if (!page.value) return null;
  return html`<${Panel} key=${`${page.value.id} ${page.value.place}`} ...${page.value} />`;
}

function Panel({ conversation, id, place }) {
  const source = pages(textOf(conversation.views.get(id).value))[place] ?? "";
  const mode = scripts.value;
  const save = () => {
    const drawing = /^\s*(<\?xml[^>]*>\s*)?<svg/i.test(source);
    saveFile(drawing ? "drawing.svg" : "page.html", `${source}\n`, drawing ? "image/svg+xml" : "text/html");
  };
  const start = () => {
    scripts.value = true;
    run.value += 1;
  };
  return html`<aside id="preview" aria-label="Preview">
    <header>
      <h2>Preview</h2>
      ${SCRIPTS.test(source) && html`<button id="run-scripts" class="quiet" type="button" disabled=${!CONFINES} title=${CONFINES ? "In a frame of their own, without requests, forms, frames or WebRTC" : "This browser cannot keep them from the network. Save the page to run them."} onClick=${start}>${mode ? "Run again" : "Run scripts"}</button>`}
      <button id="save-page" class="quiet" type="button" onClick=${save}>Save</button>
      <button id="close-preview" class="quiet icon" type="button" aria-label="Close the preview" title="Close (Escape)" onClick=${closeAndReturn}><${Icon} name="close" /></button>
    </header>
    <${Frame} key=${mode ? `scripts ${run.value}` : "plain"} source=${source} scripts=${mode} />
    ${mode && html`<p class="hint">These scripts cannot read the conversation, and requests, forms, links, frames and WebRTC are closed to them. Still, enter no passwords.</p>`}
  </aside>`;
}

/** A page that grows is sent again and again; one whose scripts run is sent once. */
function Frame({ source, scripts: running }) {
  const frame = useRef(null);
  const state = useRef({ loaded: false, sent: null, timer: 0, source }).current;
  state.source = source;
  const send = () => {
    state.timer = 0;
    if (!state.loaded || state.sent === state.source || (running && state.sent !== null)) return;
    state.sent = state.source;
    frame.current?.contentWindow.postMessage(state.source, "*");
  };
  useEffect(() => {
    if (!state.timer) state.timer = setTimeout(send, state.sent === null ? 0 : PAUSE);
  }, [source]);
  useEffect(() => {
    const heard = ({ source: from, data }) => from === frame.current?.contentWindow && data === "escape" && closeAndReturn();
    addEventListener("message", heard);
    return () => {
      clearTimeout(state.timer);
      removeEventListener("message", heard);
    };
  }, []);
  const loaded = () => {
    state.loaded = true;
    send();
  };
  return html`<iframe id="frame" ref=${frame} title="Preview of the answer's page" sandbox="allow-scripts" referrerpolicy="no-referrer" src=${running ? "/page/preview-scripts.html" : "/page/preview.html"} onLoad=${loaded}></iframe>`;
}
