//! What a sensor policy can switch, by name. Sources ask through [`Policy`]; what the answer is, the policy knows.

use crate::activity::View;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($id:ident, $word:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $(#[doc = $word] $id,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [$name] = &[$($name::$id,)*];
            /// As written in files.
            pub const fn name(self) -> &'static str { match self { $($name::$id => $word,)* } }
            /// The one of that name.
            pub fn parse(word: &str) -> Option<$name> { match word { $($word => Some($name::$id),)* _ => None } }
        }
    };
}

words! {
    /// Event types of a Sysmon configuration (schema 4.90), as `rules:` of a policy names them.
    SysmonRule {
        ProcessCreate, "process_create";
        FileCreateTime, "file_create_time";
        NetworkConnect, "network_connect";
        ProcessTerminate, "process_terminate";
        DriverLoad, "driver_load";
        ImageLoad, "image_load";
        CreateRemoteThread, "create_remote_thread";
        RawAccessRead, "raw_access_read";
        ProcessAccess, "process_access";
        FileCreate, "file_create";
        RegistryEvent, "registry_event";
        FileCreateStreamHash, "file_create_stream_hash";
        PipeEvent, "pipe_event";
        WmiEvent, "wmi_event";
        DnsQuery, "dns_query";
        FileDelete, "file_delete";
        ClipboardChange, "clipboard_change";
        ProcessTampering, "process_tampering";
        FileDeleteDetected, "file_delete_detected";
    }
}

words! {
    /// Hash algorithms of Sysmon's `HashAlgorithms`.
    Hash {
        Sha1, "SHA1";
        Md5, "MD5";
        Sha256, "SHA256";
        Imphash, "IMPHASH";
    }
}

words! {
    /// PowerShell logs that group policy switches.
    PowerShellLog {
        ScriptBlock, "script_block";
        ScriptBlockInvocation, "script_block_invocation";
        Module, "module";
        Transcription, "transcription";
    }
}

words! {
    /// Subcategories of the advanced audit policy, as `auditpol /list /subcategory:*` prints them.
    Subcategory {
        SecurityStateChange, "Security State Change";
        SecuritySystemExtension, "Security System Extension";
        SystemIntegrity, "System Integrity";
        IpsecDriver, "IPsec Driver";
        OtherSystemEvents, "Other System Events";
        Logon, "Logon";
        Logoff, "Logoff";
        AccountLockout, "Account Lockout";
        IpsecMainMode, "IPsec Main Mode";
        IpsecQuickMode, "IPsec Quick Mode";
        IpsecExtendedMode, "IPsec Extended Mode";
        SpecialLogon, "Special Logon";
        OtherLogonLogoffEvents, "Other Logon/Logoff Events";
        NetworkPolicyServer, "Network Policy Server";
        UserDeviceClaims, "User / Device Claims";
        GroupMembership, "Group Membership";
        FileSystem, "File System";
        Registry, "Registry";
        KernelObject, "Kernel Object";
        Sam, "SAM";
        CertificationServices, "Certification Services";
        ApplicationGenerated, "Application Generated";
        HandleManipulation, "Handle Manipulation";
        FileShare, "File Share";
        FilteringPlatformPacketDrop, "Filtering Platform Packet Drop";
        FilteringPlatformConnection, "Filtering Platform Connection";
        OtherObjectAccessEvents, "Other Object Access Events";
        DetailedFileShare, "Detailed File Share";
        RemovableStorage, "Removable Storage";
        CentralPolicyStaging, "Central Policy Staging";
        SensitivePrivilegeUse, "Sensitive Privilege Use";
        NonSensitivePrivilegeUse, "Non Sensitive Privilege Use";
        OtherPrivilegeUseEvents, "Other Privilege Use Events";
        ProcessCreation, "Process Creation";
        ProcessTermination, "Process Termination";
        DpapiActivity, "DPAPI Activity";
        RpcEvents, "RPC Events";
        PlugAndPlayEvents, "Plug and Play Events";
        TokenRightAdjusted, "Token Right Adjusted Events";
        AuditPolicyChange, "Audit Policy Change";
        AuthenticationPolicyChange, "Authentication Policy Change";
        AuthorizationPolicyChange, "Authorization Policy Change";
        MpssvcRuleLevelPolicyChange, "MPSSVC Rule-Level Policy Change";
        FilteringPlatformPolicyChange, "Filtering Platform Policy Change";
        OtherPolicyChangeEvents, "Other Policy Change Events";
        ComputerAccountManagement, "Computer Account Management";
        SecurityGroupManagement, "Security Group Management";
        DistributionGroupManagement, "Distribution Group Management";
        ApplicationGroupManagement, "Application Group Management";
        OtherAccountManagementEvents, "Other Account Management Events";
        UserAccountManagement, "User Account Management";
        DirectoryServiceAccess, "Directory Service Access";
        DirectoryServiceChanges, "Directory Service Changes";
        DirectoryServiceReplication, "Directory Service Replication";
        DetailedDirectoryServiceReplication, "Detailed Directory Service Replication";
        KerberosServiceTicketOperations, "Kerberos Service Ticket Operations";
        OtherAccountLogonEvents, "Other Account Logon Events";
        KerberosAuthenticationService, "Kerberos Authentication Service";
        CredentialValidation, "Credential Validation";
    }
}

/// What is switched on for one host.
pub trait Policy {
    /// Sysmon is installed.
    fn sysmon_installed(&self) -> bool;
    /// The Sysmon configuration selects this activity under that rule.
    fn sysmon<V: View>(&self, rule: SysmonRule, view: &V) -> bool;
    /// Hashes that Sysmon computes, in the order it prints them.
    fn hashes(&self) -> &[Hash];
    /// The audit policy has the subcategory for success, or for failure.
    fn audit(&self, subcategory: Subcategory, success: bool) -> bool;
    /// Process creation audits include the command line.
    fn command_line(&self) -> bool;
    /// A SACL covers the activity's object.
    fn sacl<V: View>(&self, view: &V) -> bool;
    /// A PowerShell log is on.
    fn powershell(&self, log: PowerShellLog) -> bool;
}

/// Everything on: for tests of sources and for measuring.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllOn;

impl Policy for AllOn {
    fn sysmon_installed(&self) -> bool {
        true
    }
    fn sysmon<V: View>(&self, _: SysmonRule, _: &V) -> bool {
        true
    }
    fn hashes(&self) -> &[Hash] {
        Hash::ALL
    }
    fn audit(&self, _: Subcategory, _: bool) -> bool {
        true
    }
    fn command_line(&self) -> bool {
        true
    }
    fn sacl<V: View>(&self, _: &V) -> bool {
        true
    }
    fn powershell(&self, _: PowerShellLog) -> bool {
        true
    }
}
