// Renders an answer's Markdown as elements, made from tokens without parsing HTML, so that nothing a model writes becomes a script, a style
// or a request. While an answer streams only its last block changes, and in it only the last words.

import { useRef } from "preact/hooks";
import { html } from "../dom.js";
import { blocks, isPage, isVisible } from "./blocks.js";
import { Code } from "./code.js";
import { Formula } from "./math.js";

const NUMERIC = /^[\s\d.,:%‰°$€£¥+\-−–×/()]+$/;
const SAFE = /^(?:https?:\/\/|mailto:)/i;

/** `text` as elements. `complete`: the answer has ended. `preview` is called with the index of a page among the answer's pages. */
export function Answer({ text, complete, preview }) {
  const cache = useRef([]);
  const tokens = blocks(text);
  const context = { pages: 0, headings: [], preview };
  cache.current = tokens.map((token, index) => {
    const last = index === tokens.length - 1;
    const key = `${context.pages} ${context.headings} ${complete || !last} ${token.type} ${token.raw}`;
    const before = cache.current[index];
    if (before?.key === key) {
      context.pages = before.pages;
      context.headings = before.headings;
      return before;
    }
    const drawn = block(token, { ...context, complete: complete || !last, context });
    return { key, drawn, pages: context.pages, headings: [...context.headings] };
  });
  return cache.current.map(({ drawn }) => drawn);
}

/** A text as it was written. */
export function Written({ text }) {
  return html`<p class="written">${words(text)}</p>`;
}

/** The words of a text, each a text node: while the answer streams, earlier nodes do not change and can be selected. */
const words = (text) => text.split(/(?<=\s)(?=\S)/);

function block(token, at) {
  if (!isVisible(token)) return token.type === "space" ? null : html`<p class="written">${words(token.raw.replace(/\n+$/, ""))}</p>`;
  switch (token.type) {
    case "paragraph":
      return html`<p>${inline(token.tokens)}</p>`;
    case "text":
      return html`<span class="item">${inline(token.tokens ?? [token])}</span>`;
    case "heading":
      return heading(token, at);
    case "code":
      return code(token, at);
    case "list":
      return list(token, at);
    case "blockquote":
      return html`<blockquote>${token.tokens.map((inner) => block(inner, at))}</blockquote>`;
    case "table":
      return table(token);
    case "hr":
      return html`<hr />`;
    case "math":
      return html`<${Formula} tex=${token.tex} raw=${token.raw} display=${true} />`;
    case "checkbox":
      return null;
    default:
      return html`<p class="written">${words(token.raw)}</p>`;
  }
}

/** The element's level continues the outline of the page's own headings; the style is that of the written level. */
function heading(token, { context }) {
  while (context.headings.at(-1) >= token.depth) context.headings.pop();
  context.headings.push(token.depth);
  const Tag = `h${Math.min(6, 2 + context.headings.length)}`;
  return html`<${Tag} class=${`level-${token.depth}`}>${inline(token.tokens)}</${Tag}>`;
}

function code(token, { context, complete }) {
  const place = isPage(token) ? context.pages++ : null;
  const preview = context.preview && place !== null ? () => context.preview(place) : null;
  return html`<${Code} token=${token} complete=${complete} preview=${preview} />`;
}

function list(token, at) {
  const items = token.items.map((item) => listItem(item, token, at));
  if (!token.ordered) return html`<ul>${items}</ul>`;
  const widest = Math.max(...token.items.map((item) => ordinal(item).length));
  return html`<ol start=${token.start} style=${{ paddingInlineStart: `${Math.max(2, 0.62 * widest + 0.9)}em` }}>${items}</ol>`;
}

/** The number of an item as it was written: "7." or "7)". */
const ordinal = (item) => /^\s*(\d+[.)])/.exec(item.raw)?.[1] ?? "";

function listItem(item, { ordered }, at) {
  const content = item.tokens.map((token) => block(token, at));
  if (item.task) {
    const label = item.checked ? "done" : "to do";
    return html`<li class="task"><span class="box" role="img" aria-label=${label}>${item.checked ? "☑" : "☐"}</span>${content}</li>`;
  }
  if (!ordered) return html`<li>${content}</li>`;
  const number = ordinal(item);
  const style = number ? { listStyleType: `"${number} "` } : {};
  return html`<li value=${parseInt(number, 10)} style=${style}>${content}</li>`;
}

function table({ header, rows, align }) {
  const cell = (Tag, { tokens, text }, column) => {
    const name = NUMERIC.test(text) ? "figure" : "";
    const scope = Tag === "th" ? "col" : undefined;
    return html`<${Tag} class=${name} scope=${scope} style=${align[column] ? { textAlign: align[column] } : {}} align=${align[column] || undefined}>${inline(tokens)}</${Tag}>`;
  };
  return html`<div class="table" role="region" aria-label="Table" tabindex="0">
    <table>
      <thead><tr>${header.map((one, column) => cell(header.some(({ tokens }) => tokens.some(isVisible)) && !tokensAreEmpty(one) ? "th" : "td", one, column))}</tr></thead>
      <tbody>${rows.map((row) => html`<tr>${row.map((one, column) => cell("td", one, column))}</tr>`)}</tbody>
    </table>
  </div>`;
}

const tokensAreEmpty = ({ tokens }) => !tokens.some(isVisible);

function inline(tokens) {
  return tokens.map(span);
}

function span(token) {
  switch (token.type) {
    case "strong":
    case "em":
    case "del": {
      const Tag = token.type;
      return html`<${Tag}>${inline(token.tokens)}</${Tag}>`;
    }
    case "codespan":
      return /\S/.test(token.text) ? html`<code>${token.text}</code>` : token.raw;
    case "br":
      return token.raw.startsWith("\\") ? token.raw : "\n";
    case "link":
      return link(token);
    case "image":
      return image(token);
    case "math":
      return html`<${Formula} tex=${token.tex} raw=${token.raw} display=${token.display} />`;
    case "checkbox":
      return null;
    case "escape":
      return token.text;
    default:
      return words(token.raw);
  }
}

const outside = { target: "_blank", rel: "noopener noreferrer nofollow" };

function link(token) {
  if (!SAFE.test(token.href) || !token.tokens.some(isVisible)) return words(token.raw);
  const content = html`<a href=${token.href} title=${token.title ?? token.href} ...${outside}>${inline(token.tokens)}</a>`;
  return token.raw.startsWith("<") ? ["<", content, ">"] : content;
}

/** A picture as a link with its name; pictures are not fetched. */
function image(token) {
  if (!token.text.trim() || !SAFE.test(token.href)) return words(token.raw);
  return html`<a class="picture" href=${token.href} title=${token.title ?? token.href} ...${outside}>${token.text}</a>`;
}
