// The server's model: its name, its context window, and whether it is loaded.

import { signal } from "@preact/signals";
import * as api from "../api.js";
import { keyWanted } from "./answers.js";

const RETRY = 1500; // milliseconds between two checks whether the model is loaded

/** `{name, window, models, loading}` */
export const served = signal({ name: "pixtral", window: null, models: [], loading: false });

/** Request the served models; resolves to the error, or null. */
export async function meet() {
  try {
    await look();
    keyWanted.value = false;
    if (!(await api.alive())) untilLoaded();
    return null;
  } catch (error) {
    keyWanted.value = error.status === 401;
    return error;
  }
}

async function look() {
  const models = await api.models();
  served.value = { ...models[0], models, loading: false };
}

async function untilLoaded() {
  served.value = { ...served.value, loading: true };
  while (!(await api.alive())) await new Promise((resolve) => setTimeout(resolve, RETRY));
  await look().catch(() => {});
}

export const isDemo = () => served.value.name === "demo";
