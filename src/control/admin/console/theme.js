// The theme that was chosen last, set before the first paint so that the page does not flash.
// A classic script in the head: modules would run too late. Choosing a theme is in parts/theme.js.
"use strict";
try {
  const chosen = localStorage.getItem("pellucid.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; then the system's theme holds.
}
