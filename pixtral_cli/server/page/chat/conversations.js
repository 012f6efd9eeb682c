// The list of conversations, the current one and its branch. Changes are saved and sent to the other tabs.

import { computed, signal } from "@preact/signals";
import { freshId } from "../dom.js";
import * as store from "./store.js";
import { newestLeaf, pathTo } from "./tree.js";
import * as tabs from "./tabs.js";

const FORGET = 30 * 24 * 3600 * 1000; // milliseconds after which a deleted conversation is erased

export const rows = signal([]); // of all conversations, deleted ones too, the newest first
export const listed = computed(() => rows.value.filter(({ deleted }) => !deleted));
export const deleted = computed(() => rows.value.filter((row) => row.deleted).sort((a, b) => b.deleted - a.deleted));
export const trouble = signal(null); // why conversations cannot be saved, or null

const held = new Map(); // id → conversation: those with an answer that is streaming, and those with unsaved messages

let last = 0;
export let markReady;

/** The time in milliseconds, later than that of any message before. */
export const now = () => (last = Math.max(Date.now(), last + 1));

/** One conversation in memory. `row` has its title, times and settings; `leaf` is the last message of the branch that is shown. */
export class Conversation {
  constructor(id = freshId(), row = {}, messages = []) {
    this.id = id;
    this.row = signal(row);
    this.nodes = new Map();
    this.views = new Map();
    this.structure = signal(0);
    this.leaf = signal(null);
    this.path = computed(() => (this.structure.value, pathTo(this.nodes, this.leaf.value).map(({ id: one }) => one)));
    for (const message of messages) this.put(message);
    this.leaf.value = this.nodes.has(row.leaf) ? newestLeaf(this.nodes, row.leaf) : newestLeaf(this.nodes);
    this.unsaved = new Set();
  }

  get begun() {
    return this.nodes.size > 0;
  }

  /** Add a message, or replace the one with its id. */
  put(message) {
    last = Math.max(last, message.created);
    const isNew = !this.nodes.has(message.id);
    this.nodes.set(message.id, message);
    if (isNew) this.views.set(message.id, signal(message));
    else this.views.get(message.id).value = message;
    if (isNew) this.structure.value += 1;
  }

  change(id, changes) {
    const changed = { ...this.nodes.get(id), ...changes };
    this.put(changed);
    return changed;
  }

  /** Save messages and changes of the row. Messages that cannot be saved stay in memory, and are tried again the next time. */
  async keep(changes, ids = []) {
    if (changes) this.row.value = { ...this.row.value, ...changes };
    ids.forEach((id) => this.unsaved.add(id));
    const trying = [...this.unsaved];
    const whole = trouble.value && this.begun ? this.row.value : changes;
    try {
      await store.save(this.id, whole, trying.map((id) => this.nodes.get(id)));
      trying.forEach((id) => this.unsaved.delete(id));
      if (store.lasting() && ![...held.values()].some(({ unsaved }) => unsaved.size)) trouble.value = null;
      tabs.tell("kept", { conversation: this.id, messages: trying });
    } catch (error) {
      held.set(this.id, this);
      trouble.value = reason(error);
    }
    if (changes) await refresh();
  }
}

export const current = signal(new Conversation());

export function reason(error) {
  if (error?.name === "QuotaExceededError") return "The browser's storage is full: what comes from here on is lost when the page is closed.";
  const why = error?.name === "Error" ? ` ${error.message}` : "";
  return `This browser does not let the page keep conversations: they are lost when the page is closed.${why}`;
}

/** Read the list again. */
export async function refresh() {
  try {
    const kept = new Map((await store.list()).map((row) => [row.id, row]));
    for (const one of held.values()) if (one.unsaved.size && one.begun) kept.set(one.id, { ...one.row.value, id: one.id });
    rows.value = [...kept.values()].sort((a, b) => b.changed - a.changed);
  } catch (error) {
    trouble.value = reason(error);
  }
}

/** The conversation of that identifier, from memory or the store; null when there is none. */
export async function find(id) {
  if (held.has(id)) return held.get(id);
  if (current.value.id === id) return current.value;
  const found = await store.load(id);
  return found && new Conversation(id, found.row, found.messages);
}

/** Show a conversation. */
export const show = (conversation) => (current.value = conversation);

/** Keep a conversation in memory while `hold` is true: an answer of it is being written. */
export function hold(conversation, on) {
  if (on) held.set(conversation.id, conversation);
  else if (!conversation.unsaved.size) held.delete(conversation.id);
}

/** The conversations in `held`. */
export const heldConversations = () => [...held.values()];

/** Show the branch through a message. */
export async function choose(conversation, id) {
  conversation.leaf.value = newestLeaf(conversation.nodes, id);
  await conversation.keep({ leaf: conversation.leaf.value });
}

export async function rename(id, title) {
  await (await find(id))?.keep({ title, named: true });
}

export async function setDeleted(id, value) {
  await (await find(id))?.keep({ deleted: value ? Date.now() : null });
}

export async function erase(id) {
  await store.erase(id);
  tabs.tell("kept", { conversation: id, messages: [] });
  await refresh();
}

/** Resolves when the conversation of the URL is shown. */
export const ready = new Promise((resolve) => (markReady = resolve));

/** Erase the conversations that were deleted more than FORGET milliseconds ago. */
export async function forgetOld() {
  for (const { id, deleted: when } of deleted.value) if (Date.now() - when > FORGET) await store.erase(id);
}

/** Follow the changes that other tabs save, in the list and in conversations in memory. `mine(id)`: this tab is streaming that message. */
export function follow(mine) {
  tabs.hear("kept", async ({ conversation: id, messages }) => {
    await refresh();
    const here = held.get(id) ?? (current.value.id === id ? current.value : null);
    if (!here) return;
    const row = rows.value.find((one) => one.id === id);
    if (row) here.row.value = { ...here.row.value, title: row.title, named: row.named, settings: row.settings };
    for (const one of messages) {
      const message = mine(one) ? null : await store.message(one);
      if (!message) continue;
      const extends_ = !here.nodes.has(one) && here.leaf.peek() === message.parent;
      here.put(message);
      if (extends_) here.leaf.value = one;
    }
  });
}
