// The page's other tabs: what one keeps the others are told, and who is writing an answer can be asked.

import { freshId } from "../dom.js";

const REPLY = 600; // milliseconds in which a tab that is there has answered

let isNew = true; // no page before this one was in this tab
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

/** Tell the other tabs. */
export const tell = (kind, detail) => channel?.postMessage({ kind, detail });

/** Call `act` with what other tabs tell. */
export const hear = (kind, act) => listeners.set(kind, act);

/** Which of `ids` another tab answers for: tabs that are open, answers being written. */
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

/** Answer other tabs' questions for `kind` with those of `ids()` that they ask about. */
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

/** A duplicated tab has its twin's identifier: it takes another. Resolves when that is settled. */
export const separated = separate();

async function separate() {
  if (performance.getEntriesByType("navigation")[0]?.type === "reload" || isNew) return; // no twin is made by that
  if (!(await claimed("tab", [tab])).size) return;
  tab = freshId();
  try {
    sessionStorage.setItem("pixtral.tab", tab);
  } catch {
    // then it has a new one at each reload
  }
}
