// Pictures: those waiting to be sent with their cost, and those of a message. Leaves telling to whoever adds them.

import * as api from "./api.js";

const $ = (id) => document.getElementById(id);
const MAX_BYTES = 20_000_000;

let staged = []; // {name, url, width, height, tokens}

/** Take the pictures that wait, and leave none. */
export function take() {
  const taken = staged;
  put([]);
  return taken;
}

export const any = () => staged.length > 0;

export function put(pictures) {
  staged = [...pictures];
  show();
}

/** Let files wait to be sent; `say` hears what is wrong with one. */
export async function add(files, say) {
  for (const file of files) {
    if (!file.type.startsWith("image/")) say(`${file.name} is not a picture.`);
    else if (file.size > MAX_BYTES) say(`${file.name} is larger than 20 MB.`);
    else await addOne(file, say);
  }
}

async function addOne(file, say) {
  const picture = { name: file.name || "pasted picture", url: await dataUrl(file), tokens: null };
  put([...staged, picture]);
  try {
    Object.assign(picture, await api.measure(picture.url));
  } catch (error) {
    if (error.status === 400) {
      staged = staged.filter((other) => other !== picture);
      say(error.message);
    }
  }
  show();
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

function show() {
  $("staged").replaceChildren(...staged.map(waiting));
}

function waiting(picture) {
  const item = document.createElement("li");
  const cost = document.createElement("span");
  cost.textContent = picture.tokens === null ? "…" : `${picture.tokens.toLocaleString("en")} tokens`;
  if (picture.width) item.title = `${picture.name}: seen at ${picture.width} × ${picture.height}`;
  const away = document.createElement("button");
  away.type = "button";
  away.textContent = "✕";
  away.setAttribute("aria-label", `Remove ${picture.name}`);
  away.addEventListener("click", () => {
    put(staged.filter((other) => other !== picture));
    $("question").focus();
  });
  item.append(drawn(picture), cost, away);
  return item;
}

function drawn({ url, name }) {
  const image = new Image();
  image.src = url;
  image.alt = name;
  return image;
}

/** The pictures of a message, each to be enlarged by a click. */
export function list(pictures) {
  const all = document.createElement("ul");
  all.className = "pictures";
  for (const picture of pictures) {
    const open = document.createElement("button");
    open.type = "button";
    open.setAttribute("aria-label", `Enlarge ${picture.name}`);
    open.append(drawn(picture));
    open.addEventListener("click", () => enlarge(picture));
    const item = document.createElement("li");
    item.append(open);
    all.append(item);
  }
  return all;
}

function enlarge({ url, name }) {
  $("zoomed").src = url;
  $("zoomed").alt = name;
  $("zoom").showModal();
}

$("zoom").addEventListener("click", () => $("zoom").close());
