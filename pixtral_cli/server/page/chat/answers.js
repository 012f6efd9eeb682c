// Streams answers: requests them, saves them while they arrive, stops, repeats and continues them. They go on when another conversation is shown.

import { signal } from "@preact/signals";
import * as api from "../api.js";
import { freshId } from "../dom.js";
import { current, heldConversations, hold, now } from "./conversations.js";
import { rescueFrom } from "./rescue.js";
import { requestSettings } from "./settings.js";
import * as store from "./store.js";
import * as tabs from "./tabs.js";
import { lengthOf, picturesOf, pathTo, textOf } from "./tree.js";

const KEEP = 400; // milliseconds between two saves of an answer that is streaming
const GO_ON = "Go on exactly where your answer broke off. Repeat nothing of it.";

export const running = signal(new Map()); // message → {conversation, controller}
export const outcome = signal(null); // the announcement of the answer that ended last: {text, conversation}
export const keyWanted = signal(false);

const afterKey = new Map(); // message → a function that requests it again once the API key is known

tabs.own("answer", () => [...running.peek().keys()]);
rescueFrom("conversations", () => {
  const ids = (conversation) => [...conversation.unsaved, ...[...running.peek()].filter(([, one]) => one.conversation === conversation).map(([id]) => id)];
  const left = heldConversations().map((conversation) => {
    const messages = [...new Set(ids(conversation))].map((id) => conversation.nodes.get(id));
    return { id: conversation.id, row: conversation.row.peek(), messages };
  });
  return left.some(({ messages }) => messages.length) ? left : null;
});

export const isRunning = (id) => running.value.has(id);

/** Ask a question in the current conversation: as another version of the question `instead`, or after the last message. */
export async function ask(text, pictures, instead = null) {
  const conversation = current.value;
  const parent = instead ? conversation.nodes.get(instead).parent : conversation.leaf.value;
  const parts = [...pictures.map(({ id, name, url, width, height, tokens }) => ({ type: "picture", id, name, url, width, height, tokens }))];
  if (text) parts.push({ type: "text", text });
  const question = { id: freshId(), conversation: conversation.id, parent: parent ?? null, role: "user", parts, created: now() };
  conversation.put(question);
  const title = conversation.row.value.title || text.trim().split("\n")[0].slice(0, 80) || pictures[0]?.name || "";
  await answer(conversation, question.id, { title }, [question.id]);
}

/** Request another version of an answer. */
export const regenerate = (conversation, id) => answer(conversation, conversation.nodes.get(id).parent);

/** Answer the question `parent` with a new message that begins with the text `begun`; `row` and the messages `ids` are saved with it. */
async function answer(conversation, parent, row = {}, ids = [], begun = "", goOn = null, reasoning = "") {
  const message = { id: freshId(), conversation: conversation.id, parent, role: "assistant", parts: said(begun), ...(reasoning && { reasoning }), created: now(), state: "streaming" };
  conversation.put(message);
  conversation.leaf.value = message.id;
  await write(conversation, message.id, goOn, { changed: Date.now(), leaf: message.id, ...row }, [...ids, message.id]);
}

/** Continue an incomplete answer, as another version that begins with its text. */
export async function goOn(conversation, id) {
  const message = conversation.nodes.get(id);
  await answer(conversation, message.parent, {}, [], textOf(message), textOf(message), message.reasoning);
}

export function stop(id) {
  running.value.get(id)?.controller.abort();
}

/** Stop all answers of a conversation that are streaming. */
export function stopAll(conversation) {
  for (const one of running.value.values()) if (one.conversation.id === conversation) one.controller.abort();
}

/** Stream the answer `id`, and save it before, during and after that. */
async function write(conversation, id, begun, row, ids) {
  const controller = new AbortController();
  setRunning(id, { conversation, controller });
  hold(conversation, true);
  await conversation.keep(row, ids);
  const end = await written(conversation, id, begun, controller);
  conversation.change(id, end);
  setRunning(id, null);
  outcome.value = { conversation: conversation.id, text: end.error ?? (end.state === "stopped" ? "Stopped." : "The answer is complete.") };
  await conversation.keep({ changed: Date.now() }, [id]);
  hold(conversation, [...running.value.values()].some((one) => one.conversation === conversation));
}

function setRunning(id, value) {
  const next = new Map(running.value);
  if (value) next.set(id, value);
  else next.delete(id);
  running.value = next;
}

const said = (text) => [{ type: "text", text }];

/** Draw and save the answer while it arrives; resolves to the changes of the message at its end. */
async function written(conversation, id, begun, controller) {
  const writer = new Writer(conversation, id, begun ?? "");
  try {
    let end = {};
    for await (const piece of pieces(conversation, id, begun, controller.signal)) {
      if (typeof piece === "string") writer.add(piece);
      else if (piece.reasoning) writer.think(piece.reasoning);
      else end = piece;
    }
    return { ...writer.written, ...end, state: end.finish_reason === "length" ? "cut" : "done" };
  } catch (error) {
    if (error.name === "AbortError") return { ...writer.written, state: "stopped" };
    if (error.status === 401) askForKey(conversation, id, begun);
    return { ...writer.written, state: "error", error: error.message };
  } finally {
    writer.close();
  }
}

/** The text and reasoning of an answer that is streaming: drawn at most once a frame, saved every KEEP milliseconds. */
class Writer {
  constructor(conversation, id, text) {
    this.conversation = conversation;
    this.id = id;
    this.text = text;
    this.reasoning = conversation.nodes.get(id).reasoning ?? "";
    this.drawing = 0;
    this.keeping = setInterval(() => this.keep(), KEEP);
    this.kept = this.length;
    this.saving = false;
  }

  get length() {
    return this.text.length + this.reasoning.length;
  }

  /** The fields of the message that this changes. */
  get written() {
    return { parts: said(this.text), ...(this.reasoning && { reasoning: this.reasoning }) };
  }

  add(piece) {
    this.text += piece;
    this.changed();
  }

  think(piece) {
    this.reasoning += piece;
    this.changed();
  }

  changed() {
    if (this.drawing) return;
    const pause = document.hidden ? 250 : Math.min(250, Math.max(16, this.length / 1000));
    this.drawing = setTimeout(() => this.draw(), pause);
  }

  draw() {
    this.drawing = 0;
    this.conversation.change(this.id, this.written);
  }

  async keep() {
    if (this.saving || this.kept === this.length) return;
    this.saving = true;
    this.kept = this.length;
    this.conversation.change(this.id, this.written);
    await this.conversation.keep(null, [this.id]);
    this.saving = false;
  }

  close() {
    clearTimeout(this.drawing);
    clearInterval(this.keeping);
  }
}

/** The pieces that the server sends. An answer is continued by `prefix`, or by asking for the rest if the server refuses that. */
async function* pieces(conversation, id, begun, signal) {
  const settings = requestSettings(conversation.row.value.settings);
  const path = pathTo(conversation.nodes, conversation.nodes.get(id).parent);
  const messages = [...settings.messages, ...path.filter((one) => one.role === "user" || textOf(one)).map(wire)];
  if (!begun) {
    yield* api.ask({ ...settings.fields, messages }, signal);
    return;
  }
  const { reasoning } = conversation.nodes.get(id);
  const partial = { role: "assistant", ...(reasoning && { reasoning_content: reasoning }), content: begun };
  try {
    yield* without(begun, api.ask({ ...settings.fields, messages: [...messages, { ...partial, prefix: true }] }, signal));
  } catch (error) {
    if (error.status !== 400) throw error;
    yield* api.ask({ ...settings.fields, messages: [...messages, partial, { role: "user", content: GO_ON }] }, signal);
  }
}

/** The stream without the prefix, which some servers send again. */
async function* without(prefix, stream) {
  let start = "";
  let checking = true;
  for await (const piece of stream) {
    if (!checking) yield piece;
    else if (typeof piece !== "string") yield* [start, piece];
    else if ((start + piece).length < prefix.length && prefix.startsWith(start + piece)) start += piece;
    else {
      checking = false;
      yield (start + piece).startsWith(prefix) ? (start + piece).slice(prefix.length) : start + piece;
    }
  }
}

function wire(message) {
  const text = textOf(message);
  const pictures = picturesOf(message);
  if (message.reasoning) return { role: message.role, reasoning_content: message.reasoning, content: text };
  if (!pictures.length) return { role: message.role, content: text };
  const images = pictures.map(({ url }) => ({ type: "image_url", image_url: { url } }));
  return { role: message.role, content: [...images, ...(text ? [{ type: "text", text }] : [])] };
}

function askForKey(conversation, id, begun) {
  keyWanted.value = true;
  afterKey.set(id, () => {
    conversation.change(id, { state: "streaming", error: undefined });
    return write(conversation, id, begun, {}, [id]);
  });
}

/** Request the answers again that were refused without the API key. */
export function askAgain() {
  keyWanted.value = false;
  for (const again of afterKey.values()) again();
  afterKey.clear();
}

/** Mark the answers as interrupted that no tab is streaming any more, since their page was closed or reloaded. */
export async function markInterrupted(conversation) {
  const open = [...conversation.nodes.values()].filter(({ id, state }) => state === "streaming" && !running.value.has(id)).map(({ id }) => id);
  if (!open.length) return;
  const written = await tabs.claimed("answer", open);
  const left = open.filter((id) => !written.has(id) && !running.value.has(id));
  for (const id of left) if (conversation.nodes.get(id).state === "streaming") conversation.change(id, { state: "interrupted" });
  if (left.length) await conversation.keep(null, left);
}

/** Save the messages that an earlier page had not saved. */
export async function restore(left) {
  for (const { id, row, messages } of left) {
    const lost = [];
    for (const message of messages) {
      const known = await store.message(message.id);
      if (!known || (known.state === "streaming" && lengthOf(message) > lengthOf(known))) lost.push(message);
    }
    if (lost.length) await store.save(id, row, lost);
  }
}
