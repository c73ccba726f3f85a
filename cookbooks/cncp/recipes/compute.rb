# Controller and engines on one machine.
CncpCookbook.check(node['cncp'])

cncp_packages 'cncp' if CncpCookbook.on?(node['cncp']['packages'])
cncp_virtualenv 'cncp'
cncp_profile 'cncp'
cncp_controller 'cncp'
cncp_tunnels 'cncp'
cncp_engines 'cncp'
cncp_jupyter 'cncp'
cncp_rendezvous 'cncp'
