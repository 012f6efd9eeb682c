// Stores conversations in this browser (IndexedDB), one row a message, so that two tabs can add to a conversation without overwriting each
// other. Without IndexedDB they are stored in memory, and `lasting` is false.

import { MemoryStore } from "./memory_store.js";
import { conversationOf, messagesOf } from "./migration.js";

const NAME = "pixtral";
const VERSION = 3;
const OLD = "conversations"; // before version 3: {id, title, changed, messages}, picture and all; split when first opened
const ROWS = "titles"; // {id, title, changed, leaf, settings, deleted}
const MESSAGES = "messages"; // {id, conversation, parent, role, parts, created, …}; pictures by identifier
const PICTURES = "pictures"; // {id, owner, url}; the owner is a conversation or a draft
const DRAFTS = "drafts"; // {id, conversation, tab, text, pictures, editing, changed}
const ALL = [OLD, ROWS, MESSAGES, PICTURES, DRAFTS];

let database = null;
let memory = null;

let opening = null;

/** Open the store; resolves to null, or to the error why conversations cannot be stored. */
export function open() {
  opening = opened().then(
    (result) => {
      database = result;
      database.onversionchange = () => database.close();
      return null;
    },
    (error) => {
      memory = new MemoryStore();
      return error;
    },
  );
  return opening;
}

export const lasting = () => database !== null;

function opened() {
  return new Promise((resolve, reject) => {
    if (!("indexedDB" in self) || !indexedDB) throw new Error("It has no IndexedDB.");
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = ({ oldVersion }) => upgrade(request.result, request.transaction, oldVersion);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("An older version of this page is open in another tab. Close it and reload."));
  });
}

function upgrade(result, transaction, oldVersion) {
  if (oldVersion < 1) result.createObjectStore(OLD, { keyPath: "id" });
  if (oldVersion < 2) {
    const rows = result.createObjectStore(ROWS, { keyPath: "id" });
    transaction.objectStore(OLD).openCursor().onsuccess = ({ target: { result: cursor } }) => {
      if (!cursor) return;
      const { id, title, changed } = cursor.value;
      rows.put({ id, title, changed });
      cursor.continue();
    };
  }
  result.createObjectStore(MESSAGES, { keyPath: "id" }).createIndex("conversation", "conversation");
  result.createObjectStore(PICTURES, { keyPath: "id" }).createIndex("owner", "owner");
  result.createObjectStore(DRAFTS, { keyPath: "id" }).createIndex("conversation", "conversation");
}

/** Run `act` on the stores in one transaction; resolves to its result once the transaction is complete. */
async function within(mode, names, act) {
  const transaction = database.transaction(names, mode);
  const done = new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error ?? new Error("The browser did not keep it."));
  });
  let result;
  try {
    result = await act(...names.map((name) => transaction.objectStore(name)));
  } catch (error) {
    done.catch(() => {});
    if (!transaction.error) transaction.abort();
    throw transaction.error ?? error;
  }
  await done;
  return result;
}

function got(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The conversations' rows, deleted ones too. */
export async function list() {
  await opening;
  return memory ? memory.list() : within("readonly", [ROWS], (rows) => got(rows.getAll()));
}

/** `{row, messages}` of a conversation with its pictures, or null. */
export async function load(id) {
  await opening;
  if (memory) return memory.load(id);
  await split(id);
  return within("readonly", [ROWS, MESSAGES, PICTURES], async (rows, messages, pictures) => {
    const row = await got(rows.get(id));
    if (!row) return null;
    const urls = new Map((await got(pictures.index("owner").getAll(id))).map((picture) => [picture.id, picture.url]));
    const found = await got(messages.index("conversation").getAll(id));
    return { row, messages: found.map((message) => ({ ...message, parts: message.parts.map((part) => filled(part, urls)) })) };
  });
}

const filled = (part, urls) => (part.type === "picture" ? { ...part, url: urls.get(part.id) ?? "" } : part);

/** Convert a conversation of a version before 3 to rows, in one transaction. */
async function split(id) {
  await within("readwrite", [OLD, ROWS, MESSAGES, PICTURES], async (old, rows, messages, pictures) => {
    const whole = await got(old.get(id));
    if (!whole) return;
    for (const message of messagesOf(whole)) putMessage(message, messages, pictures);
    rows.put({ ...conversationOf(whole), ...(await got(rows.get(id))) });
    old.delete(id);
  });
}

/** Save messages, and changes of a conversation's row; other tabs may have changed other fields of it. */
export async function save(id, changes, added = []) {
  await opening;
  if (memory) return memory.save(id, changes, added);
  return within("readwrite", [ROWS, MESSAGES, PICTURES], async (rows, messages, pictures) => {
    for (const message of added) putMessage(message, messages, pictures);
    if (changes) rows.put({ ...(await got(rows.get(id))), id, ...changes });
  });
}

function putMessage(message, messages, pictures) {
  for (const part of message.parts) {
    if (part.type === "picture" && part.url) pictures.put({ id: part.id, owner: message.conversation, url: part.url });
  }
  messages.put({ ...message, parts: message.parts.map(({ url: _, ...part }) => part) });
}

/** One message with its pictures, or null. */
export async function message(id) {
  await opening;
  if (memory) return memory.message(id);
  return within("readonly", [MESSAGES, PICTURES], async (messages, pictures) => {
    const found = await got(messages.get(id));
    if (!found) return null;
    const urls = new Map();
    for (const part of found.parts) if (part.type === "picture") urls.set(part.id, (await got(pictures.get(part.id)))?.url);
    return { ...found, parts: found.parts.map((part) => filled(part, urls)) };
  });
}

/** Remove a conversation. */
export async function erase(id) {
  await opening;
  if (memory) return memory.erase(id);
  return within("readwrite", [OLD, ROWS, MESSAGES, PICTURES], async (old, rows, messages, pictures) => {
    old.delete(id);
    rows.delete(id);
    await deleteAll(messages.index("conversation"), id);
    await deleteAll(pictures.index("owner"), id);
  });
}

async function deleteAll(index, key) {
  for (const one of await got(index.getAllKeys(key))) index.objectStore.delete(one);
}

/** The ids of the conversations with a message that contains `words`. */
export async function search(words) {
  await opening;
  if (memory) return memory.search(words);
  const wanted = words.toLowerCase();
  const has = (text) => (text ?? "").toLowerCase().includes(wanted);
  return within("readonly", [OLD, MESSAGES], async (old, messages) => {
    const found = new Set();
    await each(messages, ({ conversation, parts }) => parts.some(({ text }) => has(text)) && found.add(conversation));
    await each(old, (whole) => whole.messages.some(({ text }) => has(text)) && found.add(whole.id));
    return found;
  });
}

function each(store, act) {
  return new Promise((resolve, reject) => {
    const request = store.openCursor();
    request.onerror = () => reject(request.error);
    request.onsuccess = ({ target: { result: cursor } }) => {
      if (!cursor) return resolve();
      act(cursor.value);
      cursor.continue();
    };
  });
}

/** The drafts of a conversation ("new": of one without messages), of all tabs. */
export async function drafts(conversation) {
  await opening;
  if (memory) return memory.drafts(conversation);
  return within("readonly", [DRAFTS, PICTURES], async (all, pictures) => {
    const found = await got(all.index("conversation").getAll(conversation));
    for (const draft of found) {
      const shown = [];
      for (const one of draft.pictures) shown.push({ ...one, url: (await got(pictures.get(one.id)))?.url });
      draft.pictures = shown.filter(({ url }) => url);
    }
    return found;
  });
}

/** Save a draft, or remove it if it is empty. Pictures that are stored already are not written again. */
export async function saveDraft(draft) {
  await opening;
  if (memory) return memory.saveDraft(draft);
  return within("readwrite", [DRAFTS, PICTURES], async (all, pictures) => {
    const kept = new Set(await got(pictures.index("owner").getAllKeys(draft.id)));
    for (const { id, url } of draft.pictures) {
      if (!kept.delete(id) && !(await got(pictures.getKey(id)))) pictures.put({ id, owner: draft.id, url });
    }
    for (const id of kept) pictures.delete(id);
    if (!draft.text && !draft.pictures.length && !draft.aside) all.delete(draft.id);
    else all.put({ ...draft, pictures: draft.pictures.map(strip) });
  });
}

const strip = ({ url: _, ...picture }) => picture;
