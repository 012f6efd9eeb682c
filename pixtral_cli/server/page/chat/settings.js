// The settings of requests: those of a conversation, and the defaults for new ones, which are stored in this browser.

import { signal } from "@preact/signals";

const KEY = "pixtral.settings";

/** `{system, temperature, max_tokens, model}`; missing ones are the server's defaults. */
export const defaults = signal(read(KEY, {}));
export const asWritten = signal(read("pixtral.asWritten", false)); // show answers without any rendering

function read(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // no storage: the setting is lost when the page is closed
  }
}

export function setDefaults(settings) {
  defaults.value = settings;
  remember(KEY, settings);
}

export function setAsWritten(value) {
  asWritten.value = value;
  remember("pixtral.asWritten", value);
}

/** The settings in a request: leading messages, and fields. */
export function requestSettings(settings) {
  const { system = "", ...fields } = settings ?? defaults.value;
  const known = ["temperature", "max_tokens", "model"].filter((name) => fields[name] !== undefined && fields[name] !== "");
  return {
    messages: system.trim() ? [{ role: "system", content: system }] : [],
    fields: Object.fromEntries(known.map((name) => [name, fields[name]])),
  };
}
