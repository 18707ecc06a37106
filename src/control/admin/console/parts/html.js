// The view library, under the names that the console uses: `html` tagged templates, components and hooks.
// All text from the gateway passes through here and becomes text nodes or attributes, never markup.
// The only place, beside index.html, that names the vendored file.
export {
  Component,
  h,
  html,
  render,
  useCallback,
  useEffect,
  useErrorBoundary,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "../vendor/htm-3.1.1/standalone.module.js";
