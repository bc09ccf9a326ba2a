// On returning to this tab, show messages from other tabs, unless a message is being sent or edited.
const scroll = document.getElementById("scroll"), log = document.getElementById("log");
let asks = false, isGone = false;

const messages = () => [...log.querySelectorAll(".turn > [id]")];
const lastId = () => messages().pop()?.id.slice(1) ?? "";
const isBusy = () => log.querySelector("[data-open], textarea") || document.querySelector("#composer.htmx-request");
const isChat = () => /^\/chats\/[0-9a-f-]{36}$/.test(location.pathname);

function nameSeen({ detail: { ctx } }) {
  if (ctx.sourceElement.id === "composer") ctx.request.headers["X-Seen"] = lastId();
}
function readMessage() {
  const edge = scroll.getBoundingClientRect().top;
  return "follows" in scroll.dataset ? null : messages().find(each => each.getBoundingClientRect().bottom > edge);
}
function sayGone() {
  document.dispatchEvent(new CustomEvent("say", { detail: document.getElementById("toast").dataset.gone }));
  isGone = true;
}
async function fetchNews() {
  const seen = lastId(), reader = readMessage();
  const headers = { "HX-Request": "true", "HX-Current-URL": location.href, "X-Listed": document.getElementById("chats").dataset.listed ?? "" };
  const answer = await fetch(`${location.pathname}/news?seen=${seen}&at=${reader?.id.slice(1) ?? ""}`, { headers });
  if (answer.status === 404) sayGone();
  const text = answer.status === 200 && await answer.text();
  if (text && !isBusy() && lastId() === seen) await htmx.swap({ text, target: log, swap: "innerHTML", sourceElement: log, reader });
}
async function comeBack() {
  if (asks || isGone || document.hidden || isBusy() || !isChat()) return;
  asks = true;
  try {
    await fetchNews();
  } catch {
    // Offline: leave the page alone; the line below the conversation says so.
  } finally {
    asks = false;
  }
}

if (scroll) {
  document.addEventListener("htmx:config:request", nameSeen);
  document.addEventListener("visibilitychange", comeBack);
  addEventListener("focus", comeBack);
  addEventListener("pageshow", event => { if (event.persisted) comeBack(); });
}
