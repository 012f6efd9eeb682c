// The page: one conversation on screen, its composer, the list of the others. Leaves HTTP to api, keeping to store, text to markdown.

import * as api from "./api.js";
import { button, copy, pages, render } from "./markdown.js";
import * as pictures from "./pictures.js";
import * as preview from "./panel.js";
import * as store from "./store.js";

const $ = (id) => document.getElementById(id);
const RETRY = 1500; // milliseconds between two looks at whether the model is loaded

let conversation = fresh();
let editing = null; // the position of the question that the next one replaces
let running = null; // the AbortController of the answer being written
let served = { name: "", window: null };

function fresh() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is missing over plain HTTP from another machine
  const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { id, title: "", changed: Date.now(), messages: [] };
}

// Messages

function show() {
  $("messages").replaceChildren(...conversation.messages.map(element));
  $("welcome").hidden = conversation.messages.length > 0;
  showBudget();
}

function element(message, position) {
  const item = document.createElement("li");
  item.className = message.role;
  const who = document.createElement("span");
  who.className = "unseen";
  who.textContent = message.role === "user" ? "You:" : `${served.name}:`;
  const said = document.createElement("div");
  said.className = "said";
  item.append(who);
  if (message.pictures?.length) item.append(pictures.list(message.pictures));
  if (message.role === "user") said.textContent = message.text;
  else said.append(rendered(message));
  if (message.text || message.role === "assistant") item.append(said);
  item.append(tools(message, position));
  return item;
}

const rendered = (message) => render(message.text, (source, place) => preview.open(source, message, place));

function tools(message, position) {
  const row = document.createElement("div");
  row.className = "tools";
  if (message.role === "user") {
    row.append(button("Edit", () => edit(position)));
    return row;
  }
  if (message.text) row.append(button("Copy", (event) => copy(message.text, event.target)));
  if (position === conversation.messages.length - 1) row.append(button("Regenerate", regenerate));
  const note = document.createElement("span");
  note.className = message.error ? "note error" : "note";
  note.textContent = message.error ?? outcome(message);
  if (note.textContent) row.append(note);
  return row;
}

function outcome({ interrupted, cut, usage, timings }) {
  if (interrupted) return "Stopped.";
  if (cut) return "Cut: the longest answer was reached.";
  if (!usage || !(timings?.decode > 0)) return "";
  const pace = Math.max(1, Math.round((usage.completion_tokens - 1) / timings.decode));
  return `${usage.completion_tokens.toLocaleString("en")} tokens, the first after ${timings.ttft.toFixed(1)} s, then ${pace} a second`;
}

function showBudget() {
  const last = conversation.messages.findLast((message) => message.usage)?.usage;
  const used = last ? `${last.total_tokens.toLocaleString("en")} of ` : "";
  $("budget").textContent = served.window ? `${used}${served.window.toLocaleString("en")} tokens` : "";
}

// Asking

async function send() {
  const text = $("question").value.trim();
  if (running || (!text && !pictures.any())) return;
  if (editing !== null) conversation.messages.length = editing;
  const message = { role: "user", text, pictures: pictures.take() };
  conversation.messages.push(message);
  conversation.title ||= text.slice(0, 80) || message.pictures[0].name;
  clearComposer();
  await answer();
}

async function regenerate() {
  if (running) return;
  conversation.messages.pop();
  await answer();
}

async function answer() {
  const message = { role: "assistant", text: "" };
  const history = conversation.messages.filter(({ role, text, pictures }) => role === "user" || text || pictures);
  const messages = history.map(wire);
  conversation.messages.push(message);
  const here = conversation;
  show();
  const item = $("messages").lastElementChild;
  setRunning(new AbortController(), item);
  await keep(here);
  const outcome = await written(message, messages, item);
  setRunning(null, item);
  await keep(here);
  if (here === conversation) finish(message, item, outcome);
}

/** Write the answer as it comes; what to say of it in the end. */
async function written(message, messages, item) {
  try {
    for await (const piece of api.ask(messages, running.signal)) {
      if (typeof piece === "string") message.text += piece;
      else Object.assign(message, piece, { cut: piece.finish_reason === "length" });
      draw(item, message);
    }
    return "The answer is complete.";
  } catch (error) {
    if (error.name === "AbortError") message.interrupted = true;
    else message.error = error.message;
    return message.error ?? "Stopped.";
  }
}

function finish(message, item, outcome) {
  const follow = nearEnd();
  const done = element(message, conversation.messages.length - 1);
  item.replaceWith(done);
  preview.follow(message, pages(done));
  showBudget();
  scrollDown(follow);
  say(outcome);
  if ([document.body, $("stop")].includes(document.activeElement)) $("question").focus();
}

function wire({ role, text, pictures = [] }) {
  if (!pictures.length) return { role, content: text };
  const images = pictures.map(({ url }) => ({ type: "image_url", image_url: { url } }));
  return { role, content: [...images, ...(text ? [{ type: "text", text }] : [])] };
}

let due = false;

/** Draw what there is of an answer, at most once a frame. */
function draw(item, message) {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    if (!item.isConnected || !item.classList.contains("writing")) return;
    const follow = nearEnd();
    const said = item.querySelector(".said");
    said.replaceChildren(rendered(message));
    preview.follow(message, pages(said));
    scrollDown(follow);
  });
}

function nearEnd() {
  const talk = $("talk");
  return talk.scrollHeight - talk.scrollTop - talk.clientHeight < 120;
}

function scrollDown(follow) {
  if (follow) $("talk").scrollTop = $("talk").scrollHeight;
  $("down").hidden = nearEnd();
}

function setRunning(controller, item) {
  running = controller;
  item.classList.toggle("writing", Boolean(controller));
  item.setAttribute("aria-busy", String(Boolean(controller)));
  $("talk").classList.toggle("busy", Boolean(controller));
  $("send").hidden = Boolean(controller);
  $("stop").hidden = !controller;
  if (controller) {
    say("Thinking…");
    scrollDown(true);
  }
}

/** Tell in the line beneath the question; `undo` is what its button does. */
function say(text, undo = null) {
  $("status").textContent = text;
  $("undo").hidden = !undo;
  $("undo").onclick = undo;
}

// Composing

function edit(position) {
  if (running) return;
  const { text, pictures: sent = [] } = conversation.messages[position];
  editing = position;
  pictures.put(sent);
  $("question").value = text;
  $("editing").hidden = false;
  grow();
  $("question").focus();
}

function clearComposer() {
  editing = null;
  pictures.put([]);
  $("question").value = "";
  $("editing").hidden = true;
  grow();
}

function grow() {
  const area = $("question");
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}

function suggest({ target }) {
  if (target.localName !== "button") return;
  $("question").value = target.textContent;
  grow();
  $("question").focus();
  if (!pictures.any()) $("files").click();
}

// Conversations

async function keep(one) {
  if (one.deleted) return;
  one.changed = Date.now();
  try {
    await store.save(one);
    await showList();
  } catch {
    say("This browser does not let the page keep conversations.");
  }
}

async function showList() {
  const all = await store.list();
  $("conversations").replaceChildren(...all.map(entry));
}

function entry({ id, title }) {
  const item = document.createElement("li");
  const open = button(title || "Untitled", () => change(id));
  open.className = "open";
  open.title = title;
  if (id === conversation.id) open.setAttribute("aria-current", "true");
  const away = button("✕", () => forget(id));
  away.className = "delete";
  away.setAttribute("aria-label", `Delete ${title || "the conversation"}`);
  item.append(open, away);
  return item;
}

async function change(id) {
  running?.abort();
  conversation = (id && (await store.load(id))) || fresh();
  clearComposer();
  preview.close();
  show();
  say("");
  await showList();
  toggleMenu(false);
  scrollDown(true);
  $("question").focus();
}

async function forget(id) {
  const gone = await store.load(id);
  if (id === conversation.id) conversation.deleted = true; // its answer may still be coming
  await store.remove(id);
  if (id === conversation.id) await change(null);
  else await showList();
  say(`Deleted “${gone.title || "Untitled"}”.`, async () => {
    await store.save(gone);
    await change(id);
  });
}

function toggleMenu(shown) {
  $("sidebar").classList.toggle("shown", shown);
  $("scrim").hidden = !shown;
  $("menu").setAttribute("aria-expanded", String(shown));
  if (shown) $("new").focus();
}

// Wiring

function pasted(event) {
  const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
  if (!files.length) return;
  event.preventDefault();
  pictures.add(files, say);
}

function dragging(event) {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  $("drop").hidden = event.type === "dragleave" && event.relatedTarget === null;
}

function dropped(event) {
  $("drop").hidden = true;
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  pictures.add(event.dataTransfer.files, say);
  $("question").focus();
}

function typed(event) {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
}

function escaped(event) {
  if (event.key !== "Escape" || $("zoom").open) return;
  if ($("sidebar").classList.contains("shown")) {
    toggleMenu(false);
    $("menu").focus();
  } else if (running) running.abort();
  else if (preview.close()) $("question").focus();
  else if (editing !== null) clearComposer();
}

function changeTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  localStorage.setItem("pixtral.theme", (document.documentElement.dataset.theme = dark ? "light" : "dark"));
}

async function meet() {
  try {
    served = await api.model();
    $("model").textContent = document.title = served.name;
    $("key-form").hidden = true;
    say("");
    showBudget();
    if (!(await api.alive())) await untilLoaded();
  } catch (error) {
    $("key-form").hidden = error.status !== 401;
    say(error.message);
  }
}

async function untilLoaded() {
  $("budget").textContent = "The model is being loaded…";
  while (!(await api.alive())) await new Promise((resolve) => setTimeout(resolve, RETRY));
  served = await api.model();
  showBudget();
}

function wireUp() {
  $("composer").addEventListener("submit", (event) => (event.preventDefault(), send()));
  $("question").addEventListener("keydown", typed);
  $("question").addEventListener("input", grow);
  $("stop").addEventListener("click", () => running?.abort());
  $("files").addEventListener("change", ({ target }) => (pictures.add([...target.files], say), (target.value = ""), $("question").focus()));
  $("ideas").addEventListener("click", suggest);
  $("cancel-edit").addEventListener("click", clearComposer);
  $("new").addEventListener("click", () => change(null));
  $("menu").addEventListener("click", () => toggleMenu(!$("sidebar").classList.contains("shown")));
  $("scrim").addEventListener("click", () => toggleMenu(false));
  $("talk").addEventListener("scroll", () => ($("down").hidden = nearEnd()), { passive: true });
  $("down").addEventListener("click", () => scrollDown(true));
  $("theme").addEventListener("click", changeTheme);
  $("key-form").addEventListener("submit", (event) => (event.preventDefault(), api.setKey($("key").value.trim()), meet()));
  document.addEventListener("paste", pasted);
  for (const kind of ["dragenter", "dragover", "dragleave"]) document.addEventListener(kind, dragging);
  document.addEventListener("drop", dropped);
  document.addEventListener("keydown", escaped);
}

wireUp();
show();
showList().catch(() => say("This browser does not let the page keep conversations."));
await meet();
