// Folds the sidebar on a wide screen. A cookie stores it, so the server renders the page that way from the first byte.
const wide = matchMedia("(width >= 52rem)");
const fold = () => {
  const isFolded = document.documentElement.toggleAttribute("data-folded");
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${document.body.dataset.foldCookie}=${isFolded ? 1 : ""}; path=/; max-age=31536000; samesite=lax${secure}`;
  // The pressed button disappears.
  if (document.activeElement.matches("[data-fold], body")) document.querySelector(isFolded ? ".bar [data-fold]" : ".side [data-fold]")?.focus();
};
document.addEventListener("click", event => {
  if (!wide.matches || !event.target.closest("[data-fold]")) return;
  event.preventDefault();
  fold();
});
document.addEventListener("keydown", event => {
  if (event.key.toLowerCase() !== "b" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || event.isComposing) return;
  if (!document.getElementById("side") || !wide.matches) return;
  event.preventDefault();
  fold();
});
