// The panel beside the conversation that shows a page the model wrote, in a frame of no origin; its scripts run only when asked for.

const $ = (id) => document.getElementById(id);
const PAUSE = 1000; // milliseconds between two looks at a page that is still being written

let shown = null; // {source, message, place}: the page, and which of an answer's it is
let due = 0;

/** Show a page: the answer's `place`th. */
export function open(source, message, place) {
  shown = { source, message, place };
  $("preview").hidden = false;
  load(false);
  $("close-preview").focus();
}

/** The pages of an answer that is being written, as they are now: what is shown follows. */
export function follow(message, pages) {
  if (shown?.message !== message || !(shown.place in pages) || shown.source === pages[shown.place]) return;
  shown.source = pages[shown.place];
  if (due) return;
  due = setTimeout(() => {
    due = 0;
    if (shown) load(false);
  }, PAUSE);
}

/** Take the panel away; whether it was there. */
export function close() {
  const was = !$("preview").hidden;
  shown = null;
  $("preview").hidden = true;
  $("frame").removeAttribute("src");
  return was;
}

function load(scripts) {
  $("run-scripts").hidden = scripts || !/<script|\son\w+\s*=/i.test(shown.source);
  const frame = $("frame");
  frame.onload = () => {
    frame.onload = null;
    if (shown) frame.contentWindow.postMessage(shown.source, "*");
  };
  frame.src = scripts ? "/page/preview-scripts.html" : "/page/preview.html";
}

function save() {
  const svg = /^\s*(<\?xml[^>]*>\s*)?<svg/i.test(shown.source);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([shown.source], { type: svg ? "image/svg+xml" : "text/html" }));
  link.download = svg ? "drawing.svg" : "page.html";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

$("close-preview").addEventListener("click", () => (close(), $("question").focus()));
$("run-scripts").addEventListener("click", () => load(true));
$("save-page").addEventListener("click", save);
