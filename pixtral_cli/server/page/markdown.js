// An answer's Markdown as safe elements. What the model writes can become text and structure, never script, style or a request.

import DOMPurify from "./vendor/purify.es.mjs";
import { marked } from "./vendor/marked.esm.js";

const ALLOWED = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "details", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "kbd", "li", "ol", "p",
    "pre", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["href", "title", "start", "align", "class"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const PREVIEWED = ["html", "svg", "xml"];

/** A fragment for `text`. `preview` is called with a page's source and its place among the pages when its preview is asked for. */
export function render(text, preview) {
  const fragment = DOMPurify.sanitize(marked.parse(text, { gfm: true, breaks: false }), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  let place = 0;
  for (const code of fragment.querySelectorAll("pre > code")) {
    const source = code.textContent;
    const here = place;
    if (frame(code, () => preview(source, here))) place += 1;
  }
  for (const element of fragment.querySelectorAll("[class]")) element.removeAttribute("class");
  for (const figure of fragment.querySelectorAll("figure")) figure.className = "code";
  return fragment;
}

function frame(code, preview) {
  const language = /language-([\w+#.-]{1,20})/.exec(code.className)?.[1] ?? "";
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const name = document.createElement("span");
  name.textContent = language;
  caption.append(name, button("Copy", (event) => copy(code.textContent, event.target)));
  const isPage = PREVIEWED.includes(language.toLowerCase()) || /^\s*<(!doctype|html)/i.test(code.textContent);
  if (isPage) caption.append(button("Preview", preview));
  code.parentElement.replaceWith(figure);
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.append(code);
  figure.append(caption, pre);
  if (isPage) figure.dataset.page = "";
  return isPage;
}

/** The sources of the pages in what `render` made. */
export function pages(said) {
  return [...said.querySelectorAll("figure[data-page] pre")].map((pre) => pre.textContent);
}

/** A quiet button. */
export function button(label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.dataset.quiet = "";
  made.addEventListener("click", act);
  return made;
}

/** Copy, and say so on the button. */
export async function copy(text, on) {
  const label = (on.dataset.label ??= on.textContent);
  on.textContent = (await written(text)) ? "Copied" : "Not allowed";
  setTimeout(() => (on.textContent = label), 1500);
}

/** Over plain HTTP, from another machine, browsers have no clipboard but the old way. */
async function written(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = document.activeElement;
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}
