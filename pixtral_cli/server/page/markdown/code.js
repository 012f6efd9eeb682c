// A block of code: its language, buttons, and its colours once it is complete. highlight.js is loaded when the first one comes.

import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { copyText, html } from "../dom.js";
import { isPage } from "./blocks.js";

const MAX_COLOURED = 60_000; // characters

const highlighter = signal(null);
let loading = null;

function load() {
  loading ??= import("../vendor/highlight.min.mjs").then(
    (module) => (highlighter.value = module.default),
    () => (loading = null),
  );
}

/** `preview` is called when the block is a page and its preview is asked for. */
export function Code({ token, complete, preview }) {
  const { text, lang = "" } = token;
  const coloured = complete && lang && text.length <= MAX_COLOURED;
  useEffect(() => void (coloured && load()), [coloured]);
  return html`<figure class="code">
    <figcaption>
      <span>${lang}</span>
      <${CopyButton} text=${text} />
      ${isPage(token) && preview && html`<button type="button" class="quiet" onClick=${preview}>Preview</button>`}
    </figcaption>
    <pre tabindex="0" aria-label=${lang ? `Code, ${lang}` : "Code"} role="region"><code>${coloured && highlighter.value ? colours(highlighter.value, text, lang) : lines(text)}</code></pre>
  </figure>`;
}

/** A text node a line: while more comes, what stands is not touched, so that it can be selected. */
export const lines = (text) => text.split(/(?<=\n)/);

function colours(library, text, lang) {
  const language = /^[\w+#.-]+/.exec(lang)?.[0].toLowerCase();
  if (!language || !library.getLanguage(language)) return lines(text);
  const tree = library.highlight(text, { language, ignoreIllegals: true })._emitter?.rootNode;
  return tree ? tree.children.map(coloured) : lines(text);
}

function coloured(node) {
  if (typeof node === "string") return node;
  const kind = (node.scope ?? "").split(".")[0].replaceAll("_", "-");
  return html`<span class=${`hl-${kind}`}>${node.children.map(coloured)}</span>`;
}

/** Copies, and says so on itself for a moment. */
export function CopyButton({ text, label = "Copy" }) {
  const [said, say] = useState(null);
  const copy = async () => {
    say((await copyText(typeof text === "function" ? text() : text)) ? "Copied" : "Not allowed");
    setTimeout(() => say(null), 1500);
  };
  return html`<button type="button" class="quiet" onClick=${copy}>${said ?? label}</button>`;
}
