// Starts the page: opens the store, restores unsaved data of an earlier page, shows the conversation of the URL, and connects to the server.

import { effect } from "@preact/signals";
import { render } from "preact";
import * as answers from "./chat/answers.js";
import * as conversations from "./chat/conversations.js";
import * as draft from "./chat/draft.js";
import { rescueAtTheEnd, rescued } from "./chat/rescue.js";
import { meet, served } from "./chat/served.js";
import * as store from "./chat/store.js";
import * as tabs from "./chat/tabs.js";
import { html } from "./dom.js";
import { App } from "./views/app.js";
import { pasted } from "./views/composer.js";
import { dragging, dropped } from "./views/drop.js";
import { close as closePreview } from "./views/panel.js";
import { pressed } from "./views/shortcuts.js";
import { say } from "./views/status.js";

/** Show the conversation that the URL names, or a new one. */
async function route() {
  const id = /^#\/c\/([\w-]+)$/.exec(location.hash)?.[1];
  if (id && id === conversations.current.value.id) return;
  const found = id ? await conversations.find(id).catch(() => null) : null;
  if (id && !found) {
    history.replaceState(null, "", location.pathname);
    say("That conversation is not in this browser.");
  }
  const shown = found ?? new conversations.Conversation();
  if (found || conversations.current.value.begun) conversations.show(shown);
  closePreview();
  if (found) answers.markInterrupted(shown);
  tabs.separated.then(() => draft.open(shown));
  if (!answers.keyWanted.peek()) document.getElementById("question")?.focus(); // else the user is typing the API key
}

async function restore() {
  for (const left of rescued()) {
    if (left.conversations) await answers.restore(left.conversations).catch(() => {});
    if (left.draft) await draft.restore(left.draft).catch(() => {});
  }
}

function tellOutcomes() {
  effect(() => {
    const ended = answers.outcome.value;
    if (!ended || ended.conversation !== conversations.current.peek().id) return;
    say(ended.text);
    if ([document.body, document.getElementById("stop")].includes(document.activeElement)) document.getElementById("question").focus();
  });
  effect(() => {
    document.title = served.value.name;
  });
}

function listen() {
  addEventListener("hashchange", () => route());
  document.addEventListener("paste", pasted);
  for (const kind of ["dragenter", "dragover", "dragleave"]) document.addEventListener(kind, dragging);
  document.addEventListener("drop", dropped);
  document.addEventListener("keydown", pressed);
}

async function start() {
  const met = meet();
  const opening = store.open();
  tellOutcomes();
  listen();
  render(html`<${App} />`, document.body);
  rescueAtTheEnd(tabs.tab);
  const closed = await opening;
  if (closed) conversations.trouble.value = conversations.reason(closed);
  await restore();
  await conversations.refresh();
  conversations.follow((id) => answers.running.peek().has(id));
  await route();
  conversations.markReady();
  const error = await met;
  if (error) say(error.message);
  await conversations.forgetOld();
}

await start();
