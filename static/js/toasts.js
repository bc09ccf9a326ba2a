// Short messages to the user: from the server as HTML, or from a template when the browser has to say something itself.
const SHOWN_MS = 8000;
const box = document.getElementById("toasts");
const model = document.getElementById("toast");

const say = text => {
  const toast = model.content.firstElementChild.cloneNode(true);
  toast.querySelector("p").textContent = text;
  box.append(toast);
};
const dismissLater = toast => setTimeout(() => (toast.matches(":hover, :focus-within") ? dismissLater(toast) : toast.remove()), SHOWN_MS);

// Raise toasts above whatever is open, such as a drawer.
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

// A stream reconnects on its own, and a draft's estimate is requested again with the next keystroke.
const isQuiet = element => element?.hasAttribute?.("hx-sse:connect") || element?.id === "draft";

// An error page from elsewhere, such as a proxy, must not end up in the conversation.
document.addEventListener("htmx:response:error", ({ detail: { ctx } }) => {
  const quiet = isQuiet(ctx.sourceElement);
  if (ctx.hx.redirect || (ctx.hx.retarget && !quiet)) return;
  ctx.status = "refused";
  if (!quiet) say(model.dataset.failed);
});
document.addEventListener("htmx:error", ({ detail: { ctx } }) => {
  if (ctx && !isQuiet(ctx.sourceElement)) say(model.dataset.offline);
});
