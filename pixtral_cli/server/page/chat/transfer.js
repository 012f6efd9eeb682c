// Exports and imports conversations. A JSON file has whole trees, a transcript the branch that is shown. An import only adds messages.

import { freshId, saveFile } from "../dom.js";
import { harmlessJson, harmlessMarkdown } from "../markdown/harmless.js";
import { Conversation, find, now, refresh } from "./conversations.js";
import * as store from "./store.js";
import { picturesOf, textOf, versions } from "./tree.js";

const FORMAT = "pixtral-conversations";
const ROLES = ["user", "assistant"];

const fileName = (title, ending) => `${title.replace(/[^\p{L}\p{N} ._-]+/gu, " ").trim().slice(0, 60) || "conversation"}.${ending}`;

const line = (text) => harmlessMarkdown(text.replace(/\s+/g, " "));

/** Save conversations with all branches and pictures as a JSON file. */
export async function exportAll(ids, title = "pixtral conversations") {
  const all = [];
  for (const id of ids) {
    const one = await find(id);
    if (one) all.push({ ...one.row.value, id, leaf: one.leaf.value, messages: [...one.nodes.values()] });
  }
  saveFile(fileName(title, "json"), harmlessJson({ format: FORMAT, version: 1, conversations: all }), "application/json");
}

/** Save the branch that is shown as Markdown. */
export function exportTranscript(conversation) {
  const { nodes, row } = conversation;
  const said = conversation.path.value.map((id) => {
    const message = nodes.get(id);
    const { all, place } = versions(nodes, id);
    const branch = all.length > 1 ? ` (version ${place + 1} of ${all.length})` : "";
    const pictures = picturesOf(message).map(({ name }) => `[picture: ${line(name)}]\n\n`);
    return `## ${message.role === "user" ? "You" : line(message.model ?? "pixtral")}${branch}\n\n${pictures.join("")}${harmlessMarkdown(textOf(message))}\n`;
  });
  saveFile(fileName(row.value.title ?? "", "md"), `# ${line(row.value.title ?? "")}\n\n${said.join("\n")}`, "text/markdown");
}

/** Add the conversations of a file; resolves to their number. Throws an Error for an invalid file. */
export async function importFile(file) {
  let content;
  try {
    content = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name} is not JSON. Choose a file that was exported here.`);
  }
  if (content?.format !== FORMAT || !Array.isArray(content.conversations)) throw new Error(`${file.name} holds no conversations that were exported here.`);
  for (const one of content.conversations) await add(checked(one, file.name));
  await refresh();
  return content.conversations.length;
}

async function add({ id, row, messages }) {
  const known = await find(id);
  const fresh = messages.filter((message) => !known?.nodes.has(message.id));
  for (const message of fresh) if (await store.message(message.id)) throw new Error("A message of the file is in another conversation already.");
  const here = known ?? new Conversation(id);
  fresh.forEach((message) => here.put(message));
  await store.save(id, known ? { deleted: null } : { ...row, deleted: null }, fresh);
}

/** A conversation of a file, reduced to known fields of the right types. Throws an Error. */
function checked(one, name) {
  const wrong = () => new Error(`${name} is damaged: a conversation in it cannot be read.`);
  if (typeof one?.id !== "string" || !Array.isArray(one.messages)) throw wrong();
  const messages = one.messages.map((message) => {
    if (typeof message?.id !== "string" || !ROLES.includes(message.role) || !Array.isArray(message.parts)) throw wrong();
    const { state, error, usage, timings, model, reasoning } = message;
    const kept = message.role === "assistant" ? { state: state === "streaming" ? "interrupted" : (state ?? "done"), ...(error && { error: String(error) }), ...(model && { model: String(model) }), ...(reasoning && { reasoning: String(reasoning) }) } : {};
    const measured = Number.isFinite(usage?.total_tokens) && { usage, timings };
    const parent = typeof message.parent === "string" ? message.parent : null;
    return { id: message.id, conversation: one.id, parent, role: message.role, parts: message.parts.map((part) => checkedPart(part, wrong)), created: Number(message.created) || now(), ...kept, ...measured };
  });
  const settings = one.settings && typeof one.settings === "object" ? one.settings : undefined;
  return { id: one.id, messages, row: { title: String(one.title ?? ""), changed: Number(one.changed) || Date.now(), leaf: one.leaf, ...(settings && { settings }) } };
}

function checkedPart(part, wrong) {
  if (part?.type === "text") return { type: "text", text: String(part.text ?? "") };
  if (part?.type !== "picture" || !/^data:(image|application\/pdf)/.test(part.url)) throw wrong();
  const figure = (value) => (Number.isFinite(value) ? value : null);
  return { type: "picture", id: freshId(), name: String(part.name ?? ""), url: part.url, width: figure(part.width), height: figure(part.height), tokens: figure(part.tokens) };
}
