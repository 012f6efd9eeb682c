// Makes text harmless in a file that others show: on a terminal, in a viewer of Markdown, in JSON. See sessions/harmless.py.

import { Marked } from "../vendor/marked.esm.js";

// An escaped character and a code span stay as they are; then an image; then a tag, but no address in angle brackets.
const ACTIVE = /\\[^]|(?<!`)(`+)(?!`)[^\n|]+?(?<!`)\1(?!`)|(!(?=\[)|<(?!(?:https?:\/\/|mailto:)[^\s<>]*>)(?=[A-Za-z/!?]))/g;
const CONTROLS = /[\0-\x08\x0b\x0c\x0e-\x1f]/g;
const UNSAFE = /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
const marked = new Marked({ gfm: true });

/** Markdown without what fetches or runs when it is shown: images become links, HTML is text; code blocks stay. */
export function harmlessMarkdown(text) {
  const clean = text.replace(/\r\n?/g, "\n").replace(CONTROLS, (one) => String.fromCharCode(0x2400 + one.charCodeAt(0))).replace(UNSAFE, escaped);
  let tokens;
  try {
    tokens = marked.lexer(clean);
  } catch {
    return inert(clean); // nested so deep that the stack ends
  }
  return tokens.map((token) => (token.type === "code" ? closed(token.raw) : inert(token.raw))).join("");
}

/** JSON that reads as the same value and holds no character that acts on a terminal. */
export const harmlessJson = (value) => JSON.stringify(value, null, 1).replace(UNSAFE, escaped);

const inert = (text) => text.replace(ACTIVE, (whole, _ticks, active) => (active ? `\\${whole}` : whole));

/** A code block whose fence is left open is closed, so that what follows is none of it. */
function closed(raw) {
  const fence = /^ {0,3}(`{3,}|~{3,})/.exec(raw)?.[1];
  const last = raw.trimEnd().split("\n").slice(1).at(-1)?.trim() ?? "";
  return !fence || (last.startsWith(fence) && !last.replaceAll(fence[0], "")) ? raw : `${raw}${raw.endsWith("\n") ? "" : "\n"}${fence}\n`;
}
