# What `cncp shell` has fish run after its own files. They may have put other folders first, as conda's do.
set -gx PATH $VIRTUAL_ENV/bin $PATH
if functions -q fish_prompt
    functions -c fish_prompt _cncp_prompt
    function fish_prompt
        echo -n "($VIRTUAL_ENV_PROMPT) "
        _cncp_prompt
    end
end
