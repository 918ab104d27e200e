# The root certificate authority that both virtual machines share, made once on the machine that runs
# Vagrant: two agents that made one each would not trust each other.
require 'fileutils'
require 'openssl'

module MeshRoot
  DAYS = 3650

  # Makes `root.key` and `root.crt` in the directory unless both are there.
  def self.ensure(directory)
    key_file = File.join(directory, 'root.key')
    certificate_file = File.join(directory, 'root.crt')
    return if File.exist?(key_file) && File.exist?(certificate_file)

    FileUtils.mkdir_p(directory, mode: 0o700)
    key = OpenSSL::PKey::EC.generate('prime256v1')
    File.write(key_file, key.private_to_pem, perm: 0o600)
    File.write(certificate_file, certificate_of(key).to_pem)
  end

  def self.certificate_of(key)
    certificate = OpenSSL::X509::Certificate.new
    certificate.version = 2
    certificate.serial = OpenSSL::BN.rand(127)
    certificate.subject = certificate.issuer = OpenSSL::X509::Name.parse('/O=weft/CN=root of the virtual machines')
    certificate.public_key = key
    certificate.not_before = Time.now - 60
    certificate.not_after = certificate.not_before + DAYS * 86_400
    extensions = OpenSSL::X509::ExtensionFactory.new(certificate, certificate)
    certificate.add_extension(extensions.create_extension('basicConstraints', 'CA:TRUE', true))
    certificate.add_extension(extensions.create_extension('keyUsage', 'keyCertSign,cRLSign', true))
    certificate.add_extension(extensions.create_extension('subjectKeyIdentifier', 'hash'))
    certificate.sign(key, OpenSSL::Digest.new('SHA256'))
  end
end
