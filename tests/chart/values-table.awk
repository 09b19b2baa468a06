# Makes the table of docs/install.md out of values.yaml: each `# -- text` describes the key on the next line, at most one level down.
function flush_row() {
  if (name == "") return
  printf "| `%s` | %s | %s |\n", name, value, text
  name = ""; text = ""
}
BEGIN { print "| Value | Default | Meaning |"; print "| --- | --- | --- |" }
/^ *# -- / { flush_row(); sub(/^ *# -- /, ""); pending = $0; next }
/^[A-Za-z]+:/ && pending == "" { flush_row(); split($1, top, ":"); parent = top[1]; next }
pending != "" {
  key = $1; sub(/:$/, "", key)
  name = ($0 ~ /^ /) ? parent "." key : key
  value = $0; sub(/^ *[A-Za-z]+: */, "", value)
  value = (value == "") ? "see values.yaml" : "`" value "`"
  text = pending; pending = ""; flush_row()
}
