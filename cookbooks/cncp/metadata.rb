name 'cncp'
maintainer 'the cncp maintainers'
license 'BSD-3-Clause'
description 'IPython Parallel clusters: a virtualenv, a profile, a controller and engines that are kept running'
version '0.1.0'
chef_version '>= 16.0'

%w(debian ubuntu redhat centos fedora rocky almalinux).each { |name| supports name }
