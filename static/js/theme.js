// Light, dark or as the system says: kept in a cookie, so that the server draws the page in it from the first byte.
document.addEventListener("click", event => {
  const button = event.target.closest("[data-theme-switch] button");
  if (!button) return;
  event.preventDefault();
  const theme = button.value;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax${secure}`;
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const other of button.form.elements) other.setAttribute("aria-pressed", String(other === button));
});
