// Keeps conversations in this browser (IndexedDB). A conversation: {id, title, changed, messages: [{role, text, pictures, ...}]}.

const NAME = "pixtral";
const FULL = "conversations";
const TITLES = "titles"; // {id, title, changed}: so that listing reads no picture

let opened;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 2);
    request.onupgradeneeded = ({ oldVersion }) => make(request, oldVersion);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

function make({ result, transaction }, oldVersion) {
  const titles = result.createObjectStore(TITLES, { keyPath: "id" });
  if (oldVersion < 1) result.createObjectStore(FULL, { keyPath: "id" });
  transaction.objectStore(FULL).openCursor().onsuccess = ({ target: { result: cursor } }) => {
    if (!cursor) return;
    titles.put(heading(cursor.value));
    cursor.continue();
  };
}

const heading = ({ id, title, changed }) => ({ id, title, changed });

async function run(mode, act) {
  const transaction = (await open()).transaction([FULL, TITLES], mode);
  const request = act(transaction.objectStore(FULL), transaction.objectStore(TITLES));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

/** The titles of all conversations, the newest first. */
export async function list() {
  const all = await run("readonly", (full, titles) => titles.getAll());
  return all.sort((a, b) => b.changed - a.changed);
}

export const load = (id) => run("readonly", (full) => full.get(id));
export const save = (one) => run("readwrite", (full, titles) => (titles.put(heading(one)), full.put(one)));
export const remove = (id) => run("readwrite", (full, titles) => (titles.delete(id), full.delete(id)));
