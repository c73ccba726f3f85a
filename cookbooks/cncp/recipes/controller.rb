# The controller of a cluster, without engines.
cncp_packages 'cncp' if node['cncp']['packages']
cncp_virtualenv 'cncp'
cncp_profile 'cncp'
cncp_controller 'cncp'
cncp_tunnels 'cncp'
cncp_jupyter 'cncp'
