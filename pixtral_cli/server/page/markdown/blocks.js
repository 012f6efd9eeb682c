// Markdown to tokens, by rules that drop no character: HTML is text, a delimiter inside a word is a character, a block without
// visible content is text as it was written. Knows no element of the page.

import { Marked, Tokenizer } from "../vendor/marked.esm.js";
import { keepNeedlessBackslashes } from "./escapes.js";
import { mathExtensions } from "./math_syntax.js";

const MAX_LENGTH = 400_000; // characters; longer texts are shown as written
const TOO_DEEP = /^(?:[ \t]*(?:[>*+-]|\d{1,9}[.)])(?=[\s>*+-]|$)){40}|^[ \t]{120,}[*+-][ \t]/m;
const MAX_DELIMITERS = 3_000; // in one line
const VALUE = /^[\s\d.,:%‰°$€£¥+\-−–×/()<>=#*]+$/; // a figure: its sign is part of it

const marked = new Marked({
  gfm: true,
  extensions: mathExtensions,
  tokenizer: {
    html: () => undefined,
    tag: () => undefined,
    heading: atxHeading,
    lheading: setextHeading,
    emStrong: emphasis,
    del: strikethrough,
    table: wholeTable,
  },
});

/** The block tokens of `text`. A token of type "written" is to be shown as it is. */
export function blocks(text) {
  if (text.length > MAX_LENGTH || TOO_DEEP.test(text) || tooManyDelimiters(text)) return [written(text)];
  let tokens;
  try {
    tokens = marked.lexer(text);
  } catch {
    return [written(text)]; // nested so deep that the stack ends
  }
  const shown = tokens.filter(({ type }) => type !== "space");
  if (shown.length && shown.every(({ type }) => type === "hr")) return [written(text)];
  if (shown.length === 1 && isSignedValue(shown[0])) return [written(shown[0].raw)];
  try {
    return shown.map(asShown);
  } catch {
    return [written(text)];
  }
}

/** The sources of the code blocks that can be previewed as a page, in order. */
export function pages(text) {
  const found = [];
  const search = (tokens) => {
    for (const token of tokens ?? []) {
      if (token.type === "code" && isPage(token)) found.push(token.text);
      search(token.type === "list" ? token.items : token.tokens);
    }
  };
  search(blocks(text));
  return found;
}

/** Whether a code block holds a page or a drawing. */
export function isPage({ lang = "", text }) {
  return /^(html|svg|xml)\b/i.test(lang ?? "") || /^\s*<(!doctype\s+html|html|svg)\b/i.test(text);
}

/** Whether something of a token can be seen. */
export function isVisible(token) {
  switch (token.type) {
    case "space":
    case "def":
      return false;
    case "hr":
    case "written":
    case "math":
    case "checkbox":
      return true;
    case "list":
      return token.items.some((item) => item.task || item.tokens.some(isVisible));
    case "table":
      return [token.header, ...token.rows].flat().some(({ tokens }) => tokens.some(isVisible));
    case "image":
      return true;
    default:
      return token.tokens?.length ? token.tokens.some(isVisible) : token.type !== "blockquote" && /\S/.test(token.text ?? "");
  }
}

const written = (raw) => ({ type: "written", raw });

function asShown(token) {
  if (!isVisible(token)) return written(token.raw.replace(/\n+$/, ""));
  if (token.type === "list") for (const item of token.items) item.tokens = item.tokens.map(inside);
  else if (token.type === "blockquote") token.tokens = token.tokens.map(inside);
  else if (token.type === "table") for (const cell of [token.header, ...token.rows].flat()) keepNeedlessBackslashes(cell, marked);
  else if (token.tokens) keepNeedlessBackslashes(token, marked);
  return token;
}

const inside = (token) => (token.type === "space" || token.type === "checkbox" ? token : asShown(token));

/** `- 5` and `> 5` alone are figures with their signs, not a list and a quotation. */
function isSignedValue(token) {
  const single = token.type === "heading" || token.type === "blockquote" || (token.type === "list" && !token.ordered && token.items.length === 1);
  return single && VALUE.test(token.raw) && /\d/.test(token.raw);
}

function tooManyDelimiters(text) {
  return text.split("\n").some((line) => line.length > MAX_DELIMITERS && line.replace(/[^*_~[`]/g, "").length > MAX_DELIMITERS);
}

// Rules in place of marked's own. `this` is the tokenizer; undefined is "no such token here", false "as marked does".

/** A heading keeps the hashes at its end. */
function atxHeading(source) {
  const match = /^ {0,3}(#{1,6})(?=[ \t]|\n|$)[ \t]*([^\n]*)(?:\n+|$)/.exec(source);
  if (!match) return undefined;
  const text = match[2].trimEnd();
  return { type: "heading", raw: match[0], depth: match[1].length, text, tokens: this.lexer.inline(text) };
}

/** Fewer than three dashes or equals signs underline nothing: they are a minus, or a line of their own. */
function setextHeading(source) {
  const match = this.rules.block.lheading.exec(source);
  return match && match[2].trim().length >= 3 ? false : undefined;
}

const OPENS_AFTER = /^$|[\s([{"'“‘«‹„¿¡—–|>:;,…*_~]/u; // what stands before a delimiter that opens
const CLOSES_BEFORE = /^(?:$|[\s)\]}"'”’»›.,;:!?…—–|<*_~])/u;
const WITHOUT_SPACES = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}\p{sc=Thai}\u3000-\u303f\uff00-\uffef]/u;

const mayOpenAfter = (before) => OPENS_AFTER.test(before) || WITHOUT_SPACES.test(before);
const mayCloseBefore = (after) => CLOSES_BEFORE.test(after) || WITHOUT_SPACES.test(after.slice(0, 1));

function emphasis(source, masked, before = "") {
  const run = /^([*_])\1*/.exec(source);
  if (!run) return undefined;
  const at = masked.length - source.length;
  const preceding = at > 0 ? masked[at - 1] : before;
  const slashed = run[0].length === 2 && masked.slice(at - 3, at) === "**/"; // **yes**/**no**
  if (!mayOpenAfter(preceding) && !slashed) return undefined;
  const token = Tokenizer.prototype.emStrong.call(this, source, maskInnerRuns(masked, at + run[0].length), before);
  if (!token) return undefined;
  const isName = run[1] === "_" && /^_+[\p{L}\p{N}_.-]*_+$/u.test(token.raw); // __init__, _private_
  return isName ? undefined : token;
}

/** Delimiters that cannot close, because a word goes on after them, become letters. */
function maskInnerRuns(masked, from) {
  const rest = masked.slice(from).replace(/([*_])\1*/g, (run, _, offset, whole) => {
    const before = offset > 0 ? whole[offset - 1] : masked[from - 1];
    const after = whole.slice(offset + run.length, offset + run.length + 3);
    const closes = mayCloseBefore(after) || (run === "**" && after === "/**");
    return closes || mayOpenAfter(before) ? run : "a".repeat(run.length);
  });
  return masked.slice(0, from) + rest;
}

function strikethrough(source, masked, before = "") {
  if (!/^~~[^~\s]/.test(source) || !mayOpenAfter(before)) return undefined;
  const match = /^~~(?=[^\s~])((?:\\[\s\S]|[^\\~]|~(?!~))*?[^\s~\\])~~(?!~)/.exec(source);
  if (!match || !mayCloseBefore(source.slice(match[0].length))) return undefined;
  return { type: "del", raw: match[0], text: match[1], tokens: this.lexer.inlineTokens(match[1]) };
}

/** Rows with more cells than the header keep them: the header grows. */
function wholeTable(source) {
  const token = Tokenizer.prototype.table.call(this, source);
  if (!token) return undefined;
  const [header, delimiters, ...rows] = token.raw.replace(/\n+$/, "").split("\n");
  const missing = Math.max(0, ...rows.map(cells)) - token.header.length;
  if (missing <= 0 || missing > 200) return token;
  const grown = [grow(header, "   |".repeat(missing)), grow(delimiters, " --- |".repeat(missing)), ...rows].join("\n");
  return { ...(Tokenizer.prototype.table.call(this, grown) ?? token), raw: token.raw };
}

const grow = (row, more) => `${row.trimEnd().replace(/([^\\])\|$/, "$1")} |${more}`;
const cells = (row) => row.trim().replace(/^\|/, "").replace(/([^\\])\|$/, "$1").split(/(?<!\\)\|/).length;
