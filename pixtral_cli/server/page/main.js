// The page: one conversation on screen, its composer, the list of the others. Leaves HTTP to api, keeping to store, text to markdown.

import * as api from "./api.js";
import { button, copy, render } from "./markdown.js";
import * as store from "./store.js";

const $ = (id) => document.getElementById(id);
const MAX_BYTES = 20_000_000;

let conversation = fresh();
let staged = []; // pictures to send: {name, url, tokens}
let editing = null; // the position of the question that the next one replaces
let running = null; // the AbortController of the answer being written
let served = { name: "", window: null };

function fresh() {
  return { id: crypto.randomUUID(), title: "", changed: Date.now(), messages: [] };
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
  if (message.pictures?.length) item.append(pictures(message.pictures));
  if (message.role === "user") said.textContent = message.text;
  else said.append(render(message.text, preview));
  if (message.text) item.append(said);
  item.append(tools(message, position));
  return item;
}

function pictures(all) {
  const list = document.createElement("ul");
  list.className = "pictures";
  for (const picture of all) {
    const image = new Image();
    image.src = picture.url;
    image.alt = picture.name;
    const item = document.createElement("li");
    item.append(image);
    list.append(item);
  }
  return list;
}

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
  note.textContent = message.error ?? (message.interrupted ? "Stopped." : message.cut ? "Cut: the longest answer was reached." : "");
  if (note.textContent) row.append(note);
  return row;
}

function showBudget() {
  const last = conversation.messages.findLast((message) => message.usage)?.usage;
  const used = last ? `${last.total_tokens.toLocaleString("en")} of ` : "";
  $("budget").textContent = served.window ? `${used}${served.window.toLocaleString("en")} tokens` : "";
}

// Asking

async function send() {
  const text = $("question").value.trim();
  if (running || (!text && !staged.length)) return;
  if (editing !== null) conversation.messages.length = editing;
  conversation.messages.push({ role: "user", text, pictures: staged });
  conversation.title ||= text.slice(0, 80) || staged[0].name;
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
  try {
    for await (const piece of api.ask(messages, running.signal)) {
      if (typeof piece === "string") message.text += piece;
      else Object.assign(message, { usage: piece.usage, cut: piece.finish_reason === "length" });
      draw(item, message);
    }
    say("The answer is complete.");
  } catch (error) {
    if (error.name === "AbortError") message.interrupted = true;
    else message.error = error.message;
    say(message.error ?? "Stopped.");
  }
  setRunning(null, item);
  await keep(here);
  if (here === conversation) show();
  scrollDown(true);
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
    let said = item.querySelector(".said");
    if (!said) {
      said = document.createElement("div");
      said.className = "said";
      item.insertBefore(said, item.lastElementChild);
    }
    said.replaceChildren(render(message.text, preview));
    scrollDown(follow);
  });
}

function nearEnd() {
  const talk = $("talk");
  return talk.scrollHeight - talk.scrollTop - talk.clientHeight < 120;
}

function scrollDown(follow) {
  if (follow) $("talk").scrollTop = $("talk").scrollHeight;
}

function setRunning(controller, item) {
  running = controller;
  item.classList.toggle("writing", Boolean(controller));
  item.setAttribute("aria-busy", String(Boolean(controller)));
  $("send").hidden = Boolean(controller);
  $("stop").hidden = !controller;
  if (controller) {
    say("Thinking…");
    scrollDown(true);
  }
}

function say(text) {
  $("status").textContent = text;
}

// Composing

async function stage(files) {
  for (const file of files) {
    if (!file.type.startsWith("image/")) say(`${file.name} is not a picture.`);
    else if (file.size > MAX_BYTES) say(`${file.name} is larger than 20 MB.`);
    else await stageOne(file);
  }
}

async function stageOne(file) {
  const picture = { name: file.name || "pasted picture", url: await dataUrl(file), tokens: null };
  staged.push(picture);
  showStaged();
  try {
    picture.tokens = (await api.measure(picture.url)).tokens;
  } catch (error) {
    if (error.status === 400) {
      staged = staged.filter((other) => other !== picture);
      say(error.message);
    }
  }
  showStaged();
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

function showStaged() {
  $("staged").replaceChildren(
    ...staged.map((picture) => {
      const item = document.createElement("li");
      const image = new Image();
      image.src = picture.url;
      image.alt = picture.name;
      const cost = document.createElement("span");
      cost.textContent = picture.tokens === null ? "…" : `${picture.tokens.toLocaleString("en")} tokens`;
      const away = document.createElement("button");
      away.type = "button";
      away.textContent = "✕";
      away.setAttribute("aria-label", `Remove ${picture.name}`);
      away.addEventListener("click", () => {
        staged = staged.filter((other) => other !== picture);
        showStaged();
        $("question").focus();
      });
      item.append(image, cost, away);
      return item;
    }),
  );
}

function edit(position) {
  if (running) return;
  const { text, pictures = [] } = conversation.messages[position];
  editing = position;
  staged = [...pictures];
  $("question").value = text;
  $("editing").hidden = false;
  showStaged();
  grow();
  $("question").focus();
}

function clearComposer() {
  editing = null;
  staged = [];
  $("question").value = "";
  $("editing").hidden = true;
  showStaged();
  grow();
}

function grow() {
  const area = $("question");
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}

// Conversations

async function keep(one) {
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
  closePreview();
  show();
  say("");
  await showList();
  toggleMenu(false);
  scrollDown(true);
  $("question").focus();
}

async function forget(id) {
  await store.remove(id);
  if (id === conversation.id) await change(null);
  else await showList();
}

function toggleMenu(shown) {
  $("sidebar").classList.toggle("shown", shown);
  $("menu").setAttribute("aria-expanded", String(shown));
}

// Preview: a page the model wrote, in a frame of no origin; its scripts run only when asked for.

let previewed = "";

function preview(source, scripts = false) {
  previewed = source;
  $("preview").hidden = false;
  $("run-scripts").hidden = scripts || !/<script|\son\w+\s*=/i.test(source);
  const frame = $("frame");
  frame.onload = () => {
    frame.onload = null;
    frame.contentWindow.postMessage(source, "*");
  };
  frame.src = scripts ? "/page/preview-scripts.html" : "/page/preview.html";
  $("close-preview").focus();
}

function closePreview() {
  $("preview").hidden = true;
  $("frame").removeAttribute("src");
}

// Wiring

function pasted(event) {
  const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
  if (!files.length) return;
  event.preventDefault();
  stage(files);
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
  stage(event.dataTransfer.files);
}

function typed(event) {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
}

function escaped(event) {
  if (event.key !== "Escape") return;
  if (running) running.abort();
  else if (!$("preview").hidden) closePreview();
  else if (editing !== null) clearComposer();
  toggleMenu(false);
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
  } catch (error) {
    $("key-form").hidden = error.status !== 401;
    say(error.message);
  }
}

function wireUp() {
  $("composer").addEventListener("submit", (event) => (event.preventDefault(), send()));
  $("question").addEventListener("keydown", typed);
  $("question").addEventListener("input", grow);
  $("stop").addEventListener("click", () => running?.abort());
  $("files").addEventListener("change", ({ target }) => (stage([...target.files]), (target.value = "")));
  $("cancel-edit").addEventListener("click", clearComposer);
  $("new").addEventListener("click", () => change(null));
  $("menu").addEventListener("click", () => toggleMenu(!$("sidebar").classList.contains("shown")));
  $("talk").addEventListener("click", () => toggleMenu(false));
  $("theme").addEventListener("click", changeTheme);
  $("close-preview").addEventListener("click", closePreview);
  $("run-scripts").addEventListener("click", () => preview(previewed, true));
  $("key-form").addEventListener("submit", (event) => (event.preventDefault(), api.setKey($("key").value.trim()), meet()));
  document.addEventListener("paste", pasted);
  for (const kind of ["dragenter", "dragover", "dragleave"]) document.addEventListener(kind, dragging);
  document.addEventListener("drop", dropped);
  document.addEventListener("keydown", escaped);
  const theme = localStorage.getItem("pixtral.theme");
  if (theme) document.documentElement.dataset.theme = theme;
}

wireUp();
show();
await meet();
await showList().catch(() => say("This browser does not let the page keep conversations."));
