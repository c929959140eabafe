
set edit:completion:arg-completer[llmproxy] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) LLMPROXY_COMPLETE="elvish" llmproxy -- $@words) | to-lines
}

