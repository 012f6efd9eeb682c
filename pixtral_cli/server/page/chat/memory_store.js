// The functions of the store in memory, for browsers without IndexedDB: everything is lost when the page is closed.

import { textOf } from "./tree.js";

export class MemoryStore {
  rows = new Map();
  messages = new Map();
  allDrafts = new Map();

  list = async () => [...this.rows.values()];
  message = async (id) => this.messages.get(id) ?? null;
  drafts = async (conversation) => [...this.allDrafts.values()].filter((draft) => draft.conversation === conversation);

  async load(id) {
    const row = this.rows.get(id);
    return row ? { row, messages: [...this.messages.values()].filter(({ conversation }) => conversation === id) } : null;
  }

  async save(id, changes, added) {
    for (const message of added) this.messages.set(message.id, message);
    if (changes) this.rows.set(id, { ...this.rows.get(id), id, ...changes });
  }

  async erase(id) {
    this.rows.delete(id);
    for (const [key, { conversation }] of this.messages) if (conversation === id) this.messages.delete(key);
  }

  async search(words) {
    const wanted = words.toLowerCase();
    return new Set([...this.messages.values()].filter((one) => textOf(one).toLowerCase().includes(wanted)).map(({ conversation }) => conversation));
  }

  async saveDraft(draft) {
    if (draft.text || draft.pictures.length || draft.aside) this.allDrafts.set(draft.id, draft);
    else this.allDrafts.delete(draft.id);
  }
}
