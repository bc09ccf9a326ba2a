// Short messages to the user. Ours come from the server as HTML; those the browser has to say itself from a template.
const SHOWN_MS = 8000;
const box = document.getElementById("toasts");
const model = document.getElementById("toast");

const say = text => {
  const toast = model.content.firstElementChild.cloneNode(true);
  toast.querySelector("p").textContent = text;
  box.append(toast);
};
const dismissLater = toast => setTimeout(() => (toast.matches(":hover, :focus-within") ? dismissLater(toast) : toast.remove()), SHOWN_MS);

// Above what is open above the page, a drawer for example.
const lift = () => {
  box.popover = "manual";
  if (box.matches(":popover-open")) box.hidePopover();
  box.showPopover();
};

if (box.childElementCount) lift();
for (const toast of box.children) dismissLater(toast);
new MutationObserver(changes => {
  if (changes.some(change => change.addedNodes.length)) lift();
  for (const change of changes) change.addedNodes.forEach(node => node.nodeType === 1 && dismissLater(node));
}).observe(box, { childList: true });

document.addEventListener("click", event => event.target.closest("[data-dismiss]")?.closest(".toast").remove());
document.addEventListener("submit", event => event.target.closest(".toast")?.setAttribute("hidden", ""));
document.addEventListener("say", event => say(event.detail));

// A stream comes back by itself, and the figure of a draft is asked for again with the next letter.
const isQuiet = element => element?.hasAttribute?.("hx-sse:connect") || element?.id === "draft";

// An error page that is not ours, a proxy's for example, must not land in the conversation.
document.addEventListener("htmx:response:error", ({ detail: { ctx } }) => {
  const quiet = isQuiet(ctx.sourceElement);
  if (ctx.hx.redirect || (ctx.hx.retarget && !quiet)) return;
  ctx.status = "refused";
  if (!quiet) say(model.dataset.failed);
});
document.addEventListener("htmx:error", ({ detail: { ctx } }) => {
  if (ctx && !isQuiet(ctx.sourceElement)) say(model.dataset.offline);
});
