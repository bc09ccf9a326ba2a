// Keeps the scroll position and length of the list of chats, whatever replaces it.
const NAME = "list-top";
const list = () => document.getElementById("chats");
let top = 0, shown = list(), listed = shown?.dataset.listed;

const keep = () => { try { sessionStorage.setItem(NAME, top); } catch { /* Forbidden: it begins at its top. */ } };
document.addEventListener("scroll", event => {
  // Search results have their own position.
  if (event.target !== list() || !list().dataset.listed) return;
  top = list().scrollTop;
  keep();
}, { capture: true, passive: true });
const putBack = () => {
  if (!list()?.dataset.listed) return;
  listed = list().dataset.listed;
  list().scrollTop = top;
};

if (list()) {
  try { top = Number(sessionStorage.getItem(NAME)); } catch { /* As above. */ }
  putBack();
  list().querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
}
// A growing answer swaps many times a second without changing the list.
document.addEventListener("htmx:after:swap", () => {
  if (list() === shown) return;
  shown = list();
  putBack();
});
// On returning to this tab, update the list of chats, but keep search results and a title being edited.
let asks = false;
const comeBack = async () => {
  const now = list();
  if (asks || document.hidden || !now?.dataset.listed || now.contains(document.activeElement)) return;
  asks = true;
  try {
    const headers = { "HX-Request": "true", "HX-Current-URL": location.href, "X-Listed": now.dataset.listed };
    const answer = await fetch(`/chats/news?seen=${now.dataset.version}`, { headers });
    const text = answer.status === 200 && await answer.text();
    if (text && list() === now && !now.contains(document.activeElement)) await htmx.swap({ text, target: now, swap: "none" });
  } catch {
    // Offline: leave the list alone.
  } finally {
    asks = false;
  }
};
document.addEventListener("visibilitychange", comeBack);
addEventListener("focus", comeBack);
document.getElementById("side")?.addEventListener("toggle", putBack);  // A closed drawer loses it.
document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
  if (listed) ctx.request.headers["X-Listed"] = listed;
  ctx.request.headers["X-List-Version"] = list()?.dataset.version ?? "";
});
// Keep search results and a title being edited, even if the list is replaced meanwhile.
document.addEventListener("htmx:before:swap", ({ detail: { ctx, tasks } }) => {
  const own = tasks.findIndex(({ type, target }) => type === "oob" && target === list());
  if (own < 0) return;
  const isChanged = list().querySelector("[data-cancel]:focus") && !list().contains(ctx.sourceElement);
  if (isChanged || !list().dataset.listed) tasks.splice(own, 1);
});
