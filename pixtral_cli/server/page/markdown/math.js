// A formula as elements, by KaTeX, which is loaded when the first one comes. What it cannot typeset is shown as written.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { html } from "../dom.js";

const MAX_TEX = 5_000; // characters
const OPTIONS = { throwOnError: true, trust: false, strict: "ignore", maxSize: 20, maxExpand: 500 };

const katex = signal(null);
let loading = null;

function load() {
  if (loading) return;
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = "/page/vendor/katex.min.css";
  document.head.append(style);
  loading = import("../vendor/katex.min.js").then(
    () => (katex.value = self.katex),
    () => (loading = null),
  );
}

/** The formula `tex`; `raw` is how it was written. */
export function Formula({ tex, raw, display }) {
  const place = useRef(null);
  const library = katex.value;
  useEffect(() => {
    if (!library) load();
    else typeset(library, place.current, tex, raw, display);
  }, [library, tex, raw, display]);
  return html`<span class=${display ? "formula display" : "formula"} ref=${place} tabindex=${display ? 0 : undefined}>${raw.trim()}</span>`;
}

function typeset(library, place, tex, raw, display) {
  const holder = document.createElement("span");
  try {
    if (tex.length > MAX_TEX) throw new RangeError("too long");
    library.render(tex, holder, { ...OPTIONS, displayMode: display });
    place.replaceChildren(...holder.childNodes);
  } catch {
    place.textContent = raw.trim();
  }
}
