// Sends the browser's time zone with a new account.
for (const field of document.querySelectorAll("[data-zone]")) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone;

// htmx starts on a timer, which fires late on a busy machine. Links and forms work without it; listening to typing doesn't.
for (const id of ["search", "draft"]) {
  const element = document.getElementById(id);
  if (element) htmx.process(element);
}

// htmx 4.0.1 swallows clicks that should open a link in a new tab or window. Let the browser handle them.
document.addEventListener("click", event => {
  if ((event.ctrlKey || event.metaKey || event.shiftKey) && event.target.closest("a[hx-get]")) event.stopPropagation();
}, true);
