// Messages between the tabs of this page: changes are announced, and a tab can ask which tab owns an answer.

import { freshId } from "../dom.js";

const REPLY = 600; // milliseconds within which an open tab has replied

let isNew = true; // this is the first page in this tab
const channel = "BroadcastChannel" in self ? new BroadcastChannel("pixtral") : null;
const listeners = new Map(); // kind → act

/** This tab's identifier; the same after a reload. */
export let tab = remembered();

function remembered() {
  try {
    isNew = !sessionStorage.getItem("pixtral.tab");
    const known = sessionStorage.getItem("pixtral.tab") ?? freshId();
    sessionStorage.setItem("pixtral.tab", known);
    return known;
  } catch {
    return freshId();
  }
}

/** Send a message to the other tabs. */
export const tell = (kind, detail) => channel?.postMessage({ kind, detail });

/** Call `act` with the detail of messages of other tabs. */
export const hear = (kind, act) => listeners.set(kind, act);

/** The subset of `ids` that other tabs own: open tabs, or answers that they are streaming. */
export async function claimed(kind, ids) {
  if (!channel || !ids.length) return new Set();
  const found = new Set();
  const question = freshId();
  replies.set(question, (claims) => claims.forEach((id) => found.add(id)));
  tell("who", { question, kind, ids });
  await new Promise((resolve) => setTimeout(resolve, REPLY));
  replies.delete(question);
  return found;
}

const replies = new Map(); // question → act
const owned = new Map(); // kind → () => identifiers

/** Declare the `ids()` of a kind that this tab owns. */
export const own = (kind, ids) => owned.set(kind, ids);

channel?.addEventListener("message", ({ data: { kind, detail } }) => {
  if (kind === "who") {
    const mine = new Set(owned.get(detail.kind)?.() ?? []);
    const claims = detail.ids.filter((id) => mine.has(id));
    if (claims.length) tell("mine", { question: detail.question, claims });
  } else if (kind === "mine") replies.get(detail.question)?.(detail.claims);
  else listeners.get(kind)?.(detail);
});

own("tab", () => [tab]);

/** Give a duplicated tab, which has the identifier of its original, a new one. Resolves when that is done. */
export const separated = separate();

async function separate() {
  if (performance.getEntriesByType("navigation")[0]?.type === "reload" || isNew) return; // then this tab is not a duplicate
  if (!(await claimed("tab", [tab])).size) return;
  tab = freshId();
  try {
    sessionStorage.setItem("pixtral.tab", tab);
  } catch {
    // no session storage: it gets a new identifier after each reload
  }
}
