// Registers the service worker for signed-in users, removes it at sign-out, and runs the page it shows offline.
const workers = navigator.serviceWorker;
const forget = async () => {
  await (await workers.getRegistration())?.unregister();
  for (const name of await caches.keys()) await caches.delete(name);
};

if (workers) {
  // After the page has loaded, which comes first. A browser may forbid workers.
  if (document.body.matches(".shell")) addEventListener("load", () => workers.register("/service-worker.js").catch(() => {}));
  document.addEventListener("submit", event => { if (event.target.matches("[data-leaves]")) forget().catch(() => {}); });
}

// Shows the draft of the chat that could not load. It can be edited here too.
const showDraft = () => {
  const chat = location.pathname.match(/^\/chats\/([0-9a-f-]{36})$/)?.[1] ?? "new";
  const name = Object.keys(localStorage).find(each => each.startsWith("draft:") && each.endsWith(`:${chat}`));
  if (!name) return;
  const draft = JSON.parse(localStorage.getItem(name)), box = document.getElementById("kept-draft");
  box.value = draft.text;
  document.getElementById("kept").hidden = false;
  box.addEventListener("input", () => localStorage.setItem(name, JSON.stringify({ ...draft, text: box.value })));
};
if (document.querySelector("[data-is-offline]")) {
  // If storage is forbidden, there is no draft.
  try { showDraft(); } catch {}
  addEventListener("online", () => location.reload());
}
