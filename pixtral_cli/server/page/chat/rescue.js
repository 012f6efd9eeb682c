// Writes data that is not saved yet to localStorage when the page is closed, since that is synchronous; the next start restores it.

const PREFIX = "pixtral.rescue.";
const sources = new Map(); // name → () => unsaved data, or null

/** Register a function that returns unsaved data, or null; it is called when the page is closed. */
export const rescueFrom = (name, unsaved) => sources.set(name, unsaved);

/** The data of earlier pages, a list of `{name: value}`; it is removed from localStorage. */
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
