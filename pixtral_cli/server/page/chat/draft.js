// The question that is being written: its text, its pictures, and which question it edits. Kept for each conversation and tab.

import { computed, signal } from "@preact/signals";
import { freshId } from "../dom.js";
import { current, reason, trouble } from "./conversations.js";
import { PictureError, read } from "./pictures.js";
import { rescueFrom } from "./rescue.js";
import * as store from "./store.js";
import * as tabs from "./tabs.js";
import { picturesOf, textOf } from "./tree.js";

const PAUSE = 250; // milliseconds without a key after which a draft is kept

export const text = signal("");
export const pictures = signal([]); // {id, name, url, width, height, tokens}; with `reading` until they are read
export const editing = signal(null); // the question that the next one is a version of
export const wrong = signal([]); // what is wrong with files: {id, message}
export const waiting = signal(false); // Enter was pressed while pictures were read
export const reading = computed(() => pictures.value.filter((one) => one.reading).length);

let aside = null; // what was written before an edit began
let place = /^#\/c\/([\w-]+)$/.exec(location.hash)?.[1] ?? "new"; // the conversation the draft belongs to
let opened = false; // whether a conversation has been shown: before that, what is typed belongs to the first
let timer = 0;
let changedAt = 0;

rescueFrom("draft", () => (timer ? row() : null));

const row = () => ({
  id: `${place}/${tabs.tab}`,
  conversation: place,
  tab: tabs.tab,
  text: text.peek(),
  pictures: pictures.peek().filter((one) => !one.reading),
  editing: editing.peek(),
  aside,
  changed: changedAt,
});

export const isEmpty = () => !text.peek().trim() && !pictures.peek().length;

/** The draft changed: keep it when the keys rest. */
export function changed() {
  changedAt = Date.now();
  clearTimeout(timer);
  timer = setTimeout(keep, PAUSE);
}

/** Keep the draft now. */
export async function keep() {
  clearTimeout(timer);
  timer = 0;
  try {
    await store.saveDraft(row());
  } catch (error) {
    trouble.value ??= reason(error);
  }
}

/** Put the draft of a conversation into the composer; one that a closed tab left is taken up. */
export async function open(conversation) {
  const wanted = conversation.begun ? conversation.id : "new";
  if (wanted !== place) {
    if (timer && opened) keep();
    place = wanted;
    if (opened) fill({});
    else if (!isEmpty()) changed();
  }
  opened = true;
  const all = await store.drafts(place).catch(() => []);
  const mine = all.find(({ tab }) => tab === tabs.tab) ?? (await adopted(all));
  if (mine && place === wanted && isEmpty()) fill(mine);
}

async function adopted(all) {
  const living = await tabs.claimed("tab", all.map(({ tab }) => tab));
  const [left] = all.filter(({ tab }) => !living.has(tab)).sort((a, b) => b.changed - a.changed);
  if (!left) return null;
  const mine = { ...left, id: `${left.conversation}/${tabs.tab}`, tab: tabs.tab };
  await store.saveDraft(mine);
  await store.saveDraft({ ...left, text: "", pictures: [], aside: null });
  return mine;
}

function fill(draft) {
  text.value = draft.text ?? "";
  pictures.value = draft.pictures ?? [];
  editing.value = draft.editing && current.peek().nodes.has(draft.editing) ? draft.editing : null;
  aside = draft.aside ?? null;
  wrong.value = [];
  waiting.value = false;
}

/** Take what is to be sent; what was written before an edit comes back. */
export function take() {
  const taken = { text: text.peek().trim(), pictures: pictures.peek(), editing: editing.peek() };
  fill(aside ?? {});
  const old = place;
  changed();
  if (old === "new") keep().then(() => (place = current.peek().begun ? current.peek().id : "new"));
  return taken;
}

/** Write an earlier question anew; what is written now is laid aside. */
export function edit(message) {
  if (!editing.peek()) aside = isEmpty() ? null : { text: text.peek(), pictures: pictures.peek() };
  text.value = textOf(message);
  pictures.value = picturesOf(message);
  editing.value = message.id;
  changed();
}

/** End an edit without asking; what was written before comes back. */
export function cancelEdit() {
  fill(aside ?? {});
  changed();
}

/** Add files. Each is read by itself; what is wrong with one is told by its name. */
export function add(files) {
  return Promise.all([...files].map(addOne));
}

async function addOne(file) {
  const id = freshId();
  const belongsTo = place;
  pictures.value = [...pictures.peek(), { id, name: file.name || "pasted picture", reading: true }];
  try {
    const picture = await read(file);
    if (place === belongsTo) replace(id, { ...picture, id });
    else await addElsewhere(belongsTo, { ...picture, id });
  } catch (error) {
    const known = error instanceof PictureError;
    wrong.value = [...wrong.peek(), { id, message: known ? error.message : `${file.name} cannot be read. Choose it again, or save it as PNG.` }];
    waiting.value = false;
    replace(id, null);
  }
  changed();
}

function replace(id, picture) {
  pictures.value = pictures.peek().flatMap((one) => (one.id !== id ? [one] : picture ? [picture] : []));
}

/** The conversation was left while the picture was read: it waits there. */
async function addElsewhere(conversation, picture) {
  const id = `${conversation}/${tabs.tab}`;
  const draft = (await store.drafts(conversation)).find((one) => one.id === id);
  const empty = { id, conversation, tab: tabs.tab, text: "", pictures: [], editing: null, aside: null };
  await store.saveDraft({ ...empty, ...draft, pictures: [...(draft?.pictures ?? []), picture], changed: Date.now() });
}

export function remove(id) {
  replace(id, null);
  changed();
}

/** Put back a text that was not yet kept when the page went away. */
export async function restore(left) {
  const known = (await store.drafts(left.conversation)).find(({ id }) => id === left.id);
  if (!known || known.changed <= left.changed) await store.saveDraft({ ...left, pictures: known?.pictures.length > left.pictures.length ? known.pictures : left.pictures });
}
