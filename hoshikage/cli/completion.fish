# Completion of hoshikage for fish: hoshikage completion fish > ~/.config/fish/completions/hoshikage.fish
function __hoshikage
    set -l typed (commandline -ct)
    set -l words (commandline -opc)[2..-1] $typed
    for line in (hoshikage completion words -- $words 2> /dev/null)
        if test "$line" = :
            __fish_complete_path $typed
        else
            echo $line
        end
    end
end
complete -c hoshikage -f -a '(__hoshikage)'
