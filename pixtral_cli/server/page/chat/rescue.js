// What is not yet kept when the page goes away is left in localStorage, which is written at once, and taken up by the next start.

const PREFIX = "pixtral.rescue.";
const sources = new Map(); // name → () => what is to be kept, or null

/** `unsaved()` is asked when the page goes away. */
export const rescueFrom = (name, unsaved) => sources.set(name, unsaved);

/** What earlier pages left: a list of `{name: value}`. */
export function rescued() {
  const found = [];
  try {
    for (const key of Object.keys(localStorage).filter((one) => one.startsWith(PREFIX))) {
      found.push(JSON.parse(localStorage.getItem(key)));
      localStorage.removeItem(key);
    }
  } catch {
    // nothing there can be read
  }
  return found;
}

export function rescueAtTheEnd(tab) {
  addEventListener("pagehide", () => {
    const left = Object.fromEntries([...sources].map(([name, unsaved]) => [name, unsaved()]).filter(([, value]) => value));
    try {
      if (Object.keys(left).length) localStorage.setItem(PREFIX + tab, JSON.stringify(left));
    } catch {
      // the storage is full, which the page has said
    }
  });
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) localStorage.removeItem(PREFIX + tab);
  });
}
