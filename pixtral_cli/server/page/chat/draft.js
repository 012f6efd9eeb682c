// The draft of a question: its text, its pictures, and the question it edits. Saved for each conversation and tab.

import { computed, signal } from "@preact/signals";
import { freshId } from "../dom.js";
import { current, reason, trouble } from "./conversations.js";
import { PictureError, read } from "./pictures.js";
import { rescueFrom } from "./rescue.js";
import * as store from "./store.js";
import * as tabs from "./tabs.js";
import { picturesOf, textOf } from "./tree.js";

const PAUSE = 250; // milliseconds after the last change until the draft is saved

export const text = signal("");
export const pictures = signal([]); // {id, name, url, width, height, tokens}; with `reading` until they are read
export const editing = signal(null); // the question that the next one is a version of
export const wrong = signal([]); // the errors of files: {id, message}
export const waiting = signal(false); // Enter was pressed while pictures were read
export const reading = computed(() => pictures.value.filter((one) => one.reading).length);

let aside = null; // the draft before an edit began
let place = /^#\/c\/([\w-]+)$/.exec(location.hash)?.[1] ?? "new"; // the id of the draft's conversation
let opened = false; // whether a conversation has been shown: until then a draft belongs to the first one
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

/** The draft has changed: save it after PAUSE. */
export function changed() {
  changedAt = Date.now();
  clearTimeout(timer);
  timer = setTimeout(keep, PAUSE);
}

/** Save the draft now. */
export async function keep() {
  clearTimeout(timer);
  timer = 0;
  try {
    await store.saveDraft(row());
  } catch (error) {
    trouble.value ??= reason(error);
  }
}

/** Put the draft of a conversation into the composer: that of this tab, or one of a closed tab. */
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

/** Take the draft out of the composer to send it; a draft from before an edit comes back. */
export function take() {
  const taken = { text: text.peek().trim(), pictures: pictures.peek(), editing: editing.peek() };
  fill(aside ?? {});
  const old = place;
  changed();
  if (old === "new") keep().then(() => (place = current.peek().begun ? current.peek().id : "new"));
  return taken;
}

/** Edit an earlier question; the present draft is put aside. */
export function edit(message) {
  if (!editing.peek()) aside = isEmpty() ? null : { text: text.peek(), pictures: pictures.peek() };
  text.value = textOf(message);
  pictures.value = picturesOf(message);
  editing.value = message.id;
  changed();
}

/** Cancel an edit; the draft from before comes back. */
export function cancelEdit() {
  fill(aside ?? {});
  changed();
}

/** Add files. Each is read separately; errors name the file. */
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

/** Add a picture to the draft of a conversation that is no longer shown. */
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

/** Save the draft that an earlier page had not saved. */
export async function restore(left) {
  const known = (await store.drafts(left.conversation)).find(({ id }) => id === left.id);
  if (!known || known.changed <= left.changed) await store.saveDraft({ ...left, pictures: known?.pictures.length > left.pictures.length ? known.pictures : left.pictures });
}
