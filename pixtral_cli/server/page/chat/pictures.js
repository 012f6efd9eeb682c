// Prepares files to be sent: reads them, scales them down to the size the model sees, and has them measured by the server. Formats that
// the browser cannot read (PDF, TIFF, HEIC, …) are sent unchanged; the server accepts or refuses them.

import * as api from "../api.js";
import { freshId } from "../dom.js";

const MAX_BYTES = 20_000_000; // of a file that is sent unchanged
const SMALL = 300_000; // bytes; smaller files are sent unchanged, whatever their size in pixels
const PROBE = 2048; // pixels of the sides of the blank picture that is measured to find the model's limit
const OTHERWISE = 1540; // pixels: the largest limit of any of the models, if it cannot be measured
const QUALITY = 0.92;
const KINDS = "PNG, JPEG, WebP and GIF";
const BY_NAME = /\.(png|jpe?g|webp|gif|bmp|tiff?|avif|heic|heif|pdf)$/i;
const TYPES = { tif: "tiff", jpg: "jpeg" };
const READING = "is not a picture.";

/** An error of a file; the message says what is wrong and what to do. */
export class PictureError extends Error {}

/** The media type of a file, from the browser or by its extension; "" when it is no picture. */
function typeOf({ type, name }) {
  if (type.startsWith("image/") || type === "application/pdf") return type;
  const ending = BY_NAME.exec(name)?.[1].toLowerCase();
  if (!ending || (type && type !== "application/octet-stream")) return "";
  return ending === "pdf" ? "application/pdf" : `image/${TYPES[ending] ?? ending}`;
}

/** The picture in a file: `{id, name, url, width, height, tokens}`. Throws PictureError. */
export async function read(file) {
  const name = file.name || "pasted picture";
  const type = typeOf(file);
  if (!type) throw new PictureError(`${name} ${READING} Pictures are ${KINDS} files.`);
  if (!file.size) throw new PictureError(`${name} is empty. Choose another file.`);
  const bitmap = await decoded(file, type);
  const url = await sendable(file, type, name, bitmap);
  const shown = thumbnail(url);
  try {
    return { id: freshId(), name, url, shown, ...(await measured(url, bitmap, name)) };
  } finally {
    bitmap?.close();
  }
}

const thumbnail = (url) => /^data:image\/(png|jpeg|webp|gif|avif|bmp)/.test(url);

/** The file decoded by the browser, upright; null when it cannot read it. */
async function decoded(file, type) {
  if (type === "application/pdf" || !("createImageBitmap" in self)) return null;
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
}

async function sendable(file, type, name, bitmap) {
  const longest = bitmap ? Math.max(bitmap.width, bitmap.height) : 0;
  const limit = longest > 1024 && file.size > SMALL ? await modelLimit() : Infinity;
  if (longest > limit || (bitmap && file.size > MAX_BYTES)) return shrunk(bitmap, Math.min(limit, longest), type);
  if (file.size > MAX_BYTES) throw new PictureError(`${name} is larger than 20 MB, and this browser cannot make it smaller. Save it as JPEG and try again.`);
  return dataUrl(file, type);
}

/** The server's measurement. A format that the server refuses and the browser reads is converted to PNG. */
async function measured(url, bitmap, name) {
  try {
    return { url, ...(await api.measure(url)) };
  } catch (error) {
    if (error.status !== 400 && error.status !== 413) return { tokens: null }; // not ready, no key: it is told when the question is asked
    const foreign = bitmap && !/^data:image\/(png|jpeg|webp|gif)/.test(url);
    if (!foreign) throw new PictureError(`${name}: ${error.message.replace(/^data URL: /, "")}${advice(url, error)}`);
    const other = await shrunk(bitmap, Math.max(bitmap.width, bitmap.height), "image/png");
    return { url: other, shown: true, ...(await measured(other, null, name)) };
  }
}

const advice = (url, { message }) => (/^data:image\/(png|jpeg|webp|gif)/.test(url) || /PNG|JPEG|convert|export|instal/i.test(message) ? "" : " Save it as PNG or JPEG and try again.");

async function shrunk(bitmap, longest, type) {
  const scale = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  const lossless = /png|gif|bmp|webp|svg/.test(type);
  if (!lossless) {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL(lossless ? "image/png" : "image/jpeg", QUALITY);
}

let limit = null;

/** The longest side in pixels that the model sees, found once by having the server measure a blank picture. */
function modelLimit() {
  limit ??= probed().catch(() => ((limit = null), OTHERWISE));
  return limit;
}

async function probed() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = PROBE;
  const { width, height } = await api.measure(canvas.toDataURL("image/png"));
  return Math.max(width, height);
}

function dataUrl(file, type) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(`data:${type};base64,${reader.result.slice(reader.result.indexOf(",") + 1)}`);
    reader.onerror = () => reject(new PictureError(`${file.name} cannot be read: it was moved, or is not yours to read. Choose it again.`));
    reader.readAsDataURL(file);
  });
}
