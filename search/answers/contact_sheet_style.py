"""How a contact sheet looks: quiet, so that the pictures speak; dark where the screen is."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #faf9f7; --mount: #f0eeea; --line: #e2dfd9; --text: #23211e; --quiet: #6f6a62;
  --accent: #35618c; --track: #e2dfd9; --notice: #f3ecdc;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #171716; --mount: #222120; --line: #33312e; --text: #eceae6; --quiet: #a09b92;
    --accent: #8db8e0; --track: #3a3835; --notice: #2c2820;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { * { transition: none !important; }
  html { scroll-behavior: auto; } }
body {
  margin: 0 auto; max-width: 108rem; padding: clamp(1.25rem, 4vw, 3.5rem);
  background: var(--page); color: var(--text);
  font: 0.875rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
h1, h2 { margin: 0; font-weight: 600; letter-spacing: -0.015em; line-height: 1.2;
  overflow-wrap: anywhere; }
h1 { font-size: clamp(1.5rem, 3vw, 2.125rem); }
h2 { font-size: 1.375rem; }
h3 { margin: 2.75rem 0 0; padding-top: 1.25rem; border-top: 1px solid var(--line);
  font-size: 0.9375rem; font-weight: 600; }
p { margin: 0.375rem 0 0; }
.quiet { color: var(--quiet); }
a { color: inherit; text-decoration: none; }
a:hover { text-decoration: underline; text-underline-offset: 0.2em; }
a:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 4px; }
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: 1rem; padding: 0.5rem 1rem; background: var(--page); z-index: 1; }
nav ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr));
  gap: 0 2rem; margin: 1.5rem 0 0; padding: 0; list-style: none; }
nav a { display: flex; gap: 1rem; justify-content: space-between; padding: 0.5rem 0;
  border-bottom: 1px solid var(--line); }
nav a span:last-child { flex: none; }
section { margin-top: 4rem; scroll-margin-top: 2rem; }
.up { float: right; color: var(--quiet); margin-left: 1rem; line-height: 1.65rem; }
.notice { display: inline-block; margin-top: 1.25rem; padding: 0.75rem 1.125rem;
  border-radius: 8px; background: var(--notice); }
.hits { display: grid;
  grid-template-columns: repeat(auto-fill, minmax(clamp(9rem, 40vw, 15rem), 1fr));
  gap: 2.25rem clamp(1rem, 2vw, 1.5rem); margin: 2rem 0 0; padding: 0; list-style: none; }
.hits li { min-width: 0; }
.mount { display: grid; place-items: center; aspect-ratio: 4 / 3; overflow: hidden;
  padding: 4%; background: var(--mount); border-radius: 8px; }
.mount:hover { text-decoration: none; }
.mount img { display: block; width: 100%; height: 100%; min-height: 0; object-fit: contain; }
.gone { text-align: center; color: var(--quiet); padding: 1rem; overflow-wrap: anywhere; }
.gone svg { display: block; margin: 0 auto 0.625rem; opacity: 0.6; }
.name { display: flex; gap: 0.5rem; margin-top: 0.75rem; font-weight: 550; }
.name a { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.rank { flex: none; margin-left: auto; font-weight: 400; color: var(--quiet);
  font-variant-numeric: tabular-nums; }
.folder { margin: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  color: var(--quiet); direction: rtl; text-align: left; }
.relevance { display: flex; align-items: center; gap: 0.75rem; margin: 0.375rem 0 0.25rem;
  font-variant-numeric: tabular-nums; }
.bar { flex: 1; height: 4px; border-radius: 2px; background: var(--track); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--accent); }
.facts span { white-space: nowrap; }
.facts { margin-top: 0.125rem; font-size: 0.8125rem; color: var(--quiet);
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.labels { display: flex; flex-wrap: wrap; gap: 0.375rem; margin: 0.5rem 0 0; padding: 0;
  list-style: none; font-size: 0.75rem; }
.labels li { padding: 0.0625rem 0.5rem; border: 1px solid var(--line); border-radius: 1rem;
  overflow-wrap: anywhere; }
.faded .mount img { opacity: 0.5; filter: grayscale(0.75); transition: all 0.2s; }
.faded .mount:is(:hover, :focus-visible) img { opacity: 1; filter: none; }
.faded .bar i { background: var(--quiet); }
@media print { .hits li { break-inside: avoid; } .up, .skip { display: none; } }
"""
