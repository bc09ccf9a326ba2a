// Shows a page of ours while there is no network. It keeps that page and the files it loads, and nothing else.
// The server puts KEPT = { page, files, version } in front.
const CACHE = `offline-${KEPT.version}`;

const keep = async () => {
  const cache = await caches.open(CACHE);
  await cache.addAll([KEPT.page, ...KEPT.files]);
  await self.skipWaiting();
};
const takeOver = async () => {
  for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
  // Pages load as fast as without a worker: the request does not wait until it has started.
  await self.registration.navigationPreload?.enable();
  await self.clients.claim();
};
const load = async event => {
  try {
    return await event.preloadResponse || await fetch(event.request);
  } catch (error) {
    const page = await caches.match(KEPT.page);
    if (!page) throw error;
    return page;
  }
};
const loadFile = async request => await caches.match(request) || fetch(request);

self.addEventListener("install", event => event.waitUntil(keep()));
self.addEventListener("activate", event => event.waitUntil(takeOver()));
self.addEventListener("fetch", event => {
  const { request } = event;
  if (request.method !== "GET") return;
  if (request.mode === "navigate") event.respondWith(load(event));
  else if (KEPT.files.includes(new URL(request.url).pathname)) event.respondWith(loadFile(request));
});
