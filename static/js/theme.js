// Light, dark or system theme. A cookie stores it, so the server renders the page in it from the first byte.
document.addEventListener("click", event => {
  const button = event.target.closest("[data-theme-switch] button");
  if (!button) return;
  event.preventDefault();
  const theme = button.value;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${button.form.dataset.cookie}=${theme}; path=/; max-age=31536000; samesite=lax${secure}`;
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  // The browser's own frame, in browsers that colour it.
  for (const meta of document.querySelectorAll("[data-scheme]"))
    meta.media = theme === "system" ? `(prefers-color-scheme: ${meta.dataset.scheme})` : theme === meta.dataset.scheme ? "all" : "not all";
  for (const other of button.form.elements) other.setAttribute("aria-pressed", String(other === button));
});
